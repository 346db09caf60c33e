"""``python -m benchmarks NAME``: run one of the benchmarks."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {
    "cli": "the whole command, cold: help, listings of 10,000 sessions, completion, beside python -c pass",
    "compare": "the rows of core of two commits in alternation, as ratios",
    "core": "append, read, cold open, fork, eight processes, memory and import beside SQLite",
    "feed": "how soon a watcher is told of an append, catching up, and cursors of 100,000 sessions",
    "peers": "the same work done by hierstore and by what its users would pick instead",
    "scale": "listings and search in stores of 1,000 to 100,000 sessions, beside bare system calls and bare FTS5",
}
MODULES = {"peers": "benchmarks.peers.main"}


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in BENCHMARKS:
        module = importlib.import_module(MODULES.get(arguments[0], f"benchmarks.{arguments[0]}"))
        status: int = module.main(arguments[1:])
        return status
    asked = bool(arguments) and arguments[0] in ("-h", "--help")
    where = sys.stdout if asked else sys.stderr
    print("usage: python -m benchmarks NAME [options]; NAME --help shows the options\n", file=where)
    for name, summary in BENCHMARKS.items():
        print(f"  {name:<8} {summary}", file=where)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
