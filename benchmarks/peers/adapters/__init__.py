"""One module a peer, each a few lines over its public API, configured as its documentation advises for this use."""
