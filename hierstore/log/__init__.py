"""The log: bytes and state, without I/O."""
