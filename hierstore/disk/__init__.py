"""The only folder that touches the file system."""
