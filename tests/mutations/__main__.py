"""``python -m tests.mutations``: the whole list, as a table."""

import sys

from tests.mutations.gate import main

if __name__ == "__main__":
    sys.exit(main())
