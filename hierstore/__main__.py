"""``python -m hierstore``: the command line."""

from hierstore.cli import main

if __name__ == "__main__":
    main()
