"""``python -m benchmarks peers``: hierstore next to what its users would pick instead, on the same work, in the same run.

Every peer runs in processes of its own, through its public API, and all take turns row by row. What a peer cannot do, where
it fails, hangs or dies, or is not installed, its cells say so. The extra ``bench`` installs the peers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import table
from benchmarks.peers.cell import Row
from benchmarks.peers.fits import fits
from benchmarks.peers.host import Host, Unmeasured
from benchmarks.peers.peer import Peer
from benchmarks.peers.rows import BENCHES
from benchmarks.peers.rows.base import QUICK, Run, Scale
from benchmarks.peers.rows.replay import conversations

_REGISTRY = "benchmarks.peers.registry"
_STDOUT = "-"


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(prog="python -m benchmarks peers", description=(__doc__ or "").split("\n\n")[1])
    result.add_argument(
        "--quick", action="store_true", help="a smoke run: few samples, small sizes; no figures to quote"
    )
    result.add_argument(
        "--only", metavar="PEER", nargs="+", default=[], help="only peers whose name contains one of these"
    )
    result.add_argument(
        "--rows", metavar="WORK", nargs="+", default=[], help="only works whose name contains one of these"
    )
    result.add_argument("--json", metavar="FILE", help="write everything there; - for standard output")
    result.add_argument("--markdown", metavar="FILE", help="write the tables there")
    result.add_argument("--pictures", metavar="DIR", help="draw SVG and PNG files into this folder (needs matplotlib)")
    result.add_argument("--dir", metavar="DIR", help="measure in a temporary folder below this one")
    result.add_argument(
        "--input", metavar="FILE", help="real conversations to replay, as `hierstore import` takes them"
    )
    result.add_argument("--list", action="store_true", help="print the peers and the works, and end")
    result.add_argument("--peers", metavar="MODULE", default=_REGISTRY, help="where PEERS is (default: %(default)s)")
    return result


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write and draw.

    Returns:
        1 if hierstore lost a message, 2 for a wrong argument, 130 after Ctrl-C, else 0.
    """
    options = parser().parse_args(arguments)
    try:
        peers, works = _asked(options)
        given = conversations(options.input) if options.input else None
        if options.pictures and not options.list:
            importlib.import_module("matplotlib")
    except (LookupError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        if type(error).__name__ != "Refused":
            raise
        print(error, file=sys.stderr)
        return 2
    if options.list:
        _list(peers, works)
        return 0
    # Ended by a signal or by Ctrl-C, it leaves no folder and no process behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        document = _measure(options, peers, frozenset(works), given)
    except KeyboardInterrupt:
        print("\nInterrupted; the file of --json has the works that were finished before.", file=sys.stderr)
        return 130
    _hand_out(document, options)
    return 1 if lost(document) else 0


def _asked(options: argparse.Namespace) -> tuple[list[Peer], dict[str, str]]:
    peers: list[Peer] = list(importlib.import_module(options.peers).PEERS)
    works = {work: told for bench in BENCHES for work, told in bench.works.items()}
    chosen = [peer for peer in peers if _is_asked(peer.name, options.only)]
    rows = {work: told for work, told in works.items() if _is_asked(work, options.rows)}
    for asked, found, every in ((options.only, chosen, [p.name for p in peers]), (options.rows, rows, list(works))):
        if not found:
            raise LookupError(f"Nothing is named {' or '.join(map(repr, asked))}; there are: {', '.join(every)}.")
    return chosen, rows


def _is_asked(name: str, words: Sequence[str]) -> bool:
    return not words or any(word.lower() in name.lower() for word in words)


def _list(peers: Sequence[Peer], works: dict[str, str]) -> None:
    for peer in peers:
        print(f"{peer.name:<42} {peer.distribution or '-'}")
    print()
    for work, told in works.items():
        print(f"{work:<14} {told}")


def _measure(
    options: argparse.Namespace, peers: Sequence[Peer], works: frozenset[str], given: list[Any] | None
) -> dict[str, Any]:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="hierstore-peers-", dir=options.dir) as name, ExitStack() as stack:
        folder = Path(name)
        facts = machine.facts(folder)
        scale = QUICK if options.quick else Scale()
        hosts = {
            peer.name: Host(peer, folder / f"host-{place}", scale.answer_limit_s) for place, peer in enumerate(peers)
        }
        broken: dict[str, Exception] = {}
        for peer_name, host in hosts.items():
            stack.callback(host.close)
            say(f"importing {peer_name}")
            try:
                host.start()
            except Unmeasured as error:
                broken[peer_name] = error
                say(f"{peer_name}: {error}")
        run = Run(hosts, broken, folder, scale, works, given, say)
        rows: list[Row] = []
        document: dict[str, Any] = {}
        pauses = stack.enter_context(Pauses())
        for bench in BENCHES:
            if works & bench.works.keys():
                rows += bench.run(run)
                document = _document(options, run, rows, facts | _afterwards(pauses), time.monotonic() - began)
                if options.json and options.json != _STDOUT:
                    _write_json(_without(document, name) | {"unfinished": True}, options.json)
        say("done")
        return _without(document, name)


def _without(document: dict[str, Any], folder: str) -> dict[str, Any]:
    """The document without the folder in which it was measured: errors that a peer raised may name it."""
    told: dict[str, Any] = json.loads(json.dumps(document).replace(json.dumps(folder)[1:-1], "…"))
    return told


class Pauses:
    """Notices that this process was stopped, or the machine too busy to let it run: figures of such a time are false."""

    _TICK_S = 0.5
    _LONG_S = 5.0

    def __init__(self) -> None:
        self.total_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(self._TICK_S):
            now = time.monotonic()
            if now - before > self._LONG_S:
                self.total_s += now - before
            before = now

    def __enter__(self) -> Pauses:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _afterwards(pauses: Pauses) -> dict[str, object]:
    """What is known of the machine only when something has run."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    stopped = f"{pauses.total_s:.0f} s (false figures)" if pauses.total_s else None
    return {"load_average_after": load, "stopped_for": stopped}


def _document(
    options: argparse.Namespace, run: Run, rows: Sequence[Row], facts: dict[str, object], took_s: float
) -> dict[str, Any]:
    told = [row.as_dict(table.OURS) for row in rows]
    return {
        "benchmark": "peers",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(options),
        "took_s": round(took_s, 1),
        "machine": facts,
        "scale": asdict(run.scale),
        "peers": {
            name: {
                "distribution": host.peer.distribution,
                "version": host.version or (str(facts["hierstore"]) if name.startswith(table.OURS) else None),
                "is_floor": host.peer.is_floor,
                "note": host.peer.note,
                "import_ms": host.import_ns and round(host.import_ns / 1e6, 1),
                "broken": str(run.broken[name]) if name in run.broken else None,
            }
            for name, host in run.hosts.items()
        },
        "rows": told,
        "fits": fits(told),
    }


def _command(options: argparse.Namespace) -> str:
    words = ["python -m benchmarks peers"]
    words += ["--quick"] if options.quick else []
    for name in ("only", "rows"):
        words += [f"--{name} {' '.join(map(repr, getattr(options, name)))}"] if getattr(options, name) else []
    words += [f"--input {os.path.basename(options.input)}"] if options.input else []
    words += ["--dir DIR"] if options.dir else []
    return " ".join(words)


def _hand_out(document: dict[str, Any], options: argparse.Namespace) -> None:
    to_stdout = options.json == _STDOUT
    print(table.terminal(document), file=sys.stderr if to_stdout else sys.stdout)
    if to_stdout:
        sys.stdout.write(_json(document))
    elif options.json:
        _write_json(document, options.json)
        print(f"Written to {os.path.relpath(options.json)}", file=sys.stderr)
    if options.markdown:
        _write(Path(options.markdown), table.markdown(document))
        print(f"Written to {os.path.relpath(options.markdown)}", file=sys.stderr)
    if options.pictures:
        from benchmarks.peers.pictures import draw

        for path in draw(document, Path(options.pictures)):
            print(f"Drawn: {os.path.relpath(path)}", file=sys.stderr)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _write_json(document: Mapping[str, Any], path: str) -> None:
    _write(Path(path), _json(document))


def lost(document: dict[str, Any]) -> bool:
    """Whether hierstore has less than it acknowledged in any row that counts."""
    for row in document["rows"]:
        facts = row["cells"].get(table.OURS, {}).get("facts", {})
        if facts.get("lost") or ("kept" in facts and facts["kept"] != facts["acknowledged"]):
            return True
    return False
