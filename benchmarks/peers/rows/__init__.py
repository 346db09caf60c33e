"""The rows of the table, by the work that is done."""

from __future__ import annotations

from benchmarks.peers.rows.base import Bench
from benchmarks.peers.rows.crash import CRASH
from benchmarks.peers.rows.freshness import FRESHNESS
from benchmarks.peers.rows.lengths import LENGTHS
from benchmarks.peers.rows.processes import PROCESSES
from benchmarks.peers.rows.replay import REPLAY
from benchmarks.peers.rows.sessions import SESSIONS

BENCHES: tuple[Bench, ...] = (LENGTHS, SESSIONS, PROCESSES, FRESHNESS, CRASH, REPLAY)
