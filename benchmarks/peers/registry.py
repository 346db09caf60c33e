"""The peers, in the order of the table. Nothing of theirs is imported here."""

from __future__ import annotations

from benchmarks.floor import APPEND
from benchmarks.peers.peer import Peer

_LOOP = "Asynchronous only: some 50 us of each call is its event loop and its hop to a thread."
_NO_END = "Has no call for the last messages: reads all."

PEERS: tuple[Peer, ...] = (
    Peer("hierstore", "ours", "", note="Survives the death of every process; not synced."),
    Peer("hierstore, power", "ours_power", "", note="Syncs each append."),
    Peer(
        "PraisonAI HierarchicalSessionStore", "praisonai", "praisonaiagents",
        note="retention='keep_all': by default it keeps 100 messages and a summary. Not synced. Search finds sessions.",
    ),
    Peer(
        "OpenAI Agents SQLiteSession", "openai_sqlite", "openai-agents",
        note=f"WAL, synchronous FULL. {_LOOP}",
    ),
    Peer(
        "OpenAI Agents AdvancedSQLiteSession", "openai_advanced", "openai-agents",
        note=f"WAL, synchronous FULL. A fork is a branch before the last message, and that message again. {_LOOP}",
    ),
    Peer(
        "Strands FileSessionManager", "strands_files", "strands-agents",
        note=f"A file a message; not synced. {_NO_END}",
    ),
    Peer(
        "LangGraph SqliteSaver", "langgraph_sqlite", "langgraph-checkpoint-sqlite",
        note=f"WAL, synchronous FULL. Each step is a checkpoint with the whole state. {_NO_END}",
    ),
    Peer(
        "Google ADK SqliteSessionService", "adk_sqlite", "google-adk",
        note="Rollback journal, synchronous FULL. Asynchronous only, with a connection and a thread for each call."
        " Refused as stale, the adapter reads and tries again.",
    ),
    Peer(
        "LangChain FileChatMessageHistory", "langchain_file", "langchain-community",
        note=f"No lock; not synced. Filled by writing its file. {_NO_END}",
    ),
    Peer(
        "LlamaIndex SimpleChatStore", "llamaindex_simple", "llama-index-core",
        note="In memory; persist() after each message writes all sessions. No lock; not synced; never reads again.",
    ),
    Peer(
        "Agno JsonDb", "agno_json", "agno",
        note="All sessions in one file, all runs in another. No lock; not synced. A message is a run; filled with one run.",
    ),
    Peer(
        "Agno SqliteDb", "agno_sqlite", "agno",
        note="WAL, synchronous FULL. A message is a run; filled with one run.",
    ),
    Peer(
        "Agent Framework FileHistoryProvider", "agent_framework_file", "agent-framework-core",
        note=f"Experimental, it says. No lock between processes; not synced; reads all before it appends. {_NO_END} {_LOOP}",
    ),
    Peer(
        "diskcache Deque", "diskcache_deque", "diskcache",
        note="A database a session; WAL, synchronous NORMAL.",
    ),
    Peer(
        "SQLite, NORMAL", "sqlite_normal", "", is_floor=True,
        note="WAL, a table with an index, autocommit. Not synced.",
    ),
    Peer(
        "SQLite, FULL", "sqlite_full", "", is_floor=True,
        note="WAL, a table with an index, autocommit. Syncs each append.",
    ),
    Peer("LMDB, sync=False", "lmdb_unsynced", "lmdb", is_floor=True, note="Not synced."),
    Peer("LMDB", "lmdb_synced", "lmdb", is_floor=True, note="Syncs each append."),
    Peer("system calls", "bare_calls", "", is_floor=True, note=f"{APPEND}; not synced."),
)  # fmt: skip
