"""The index: listings and full-text search, derived from the logs and safe to delete at any time."""
