"""What comes from other programs: their session folders, read as neutral values and never changed."""
