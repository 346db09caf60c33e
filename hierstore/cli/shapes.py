"""What ``--json`` prints of each kind of thing: one shape for all commands, described on the command page.

Keys are never taken away or given another meaning; new ones may come. Times are Unix seconds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hierstore.cli.text import is_harmless

if TYPE_CHECKING:
    from hierstore import (
        CheckReport,
        CompactReport,
        DiskUsage,
        Event,
        Finding,
        Message,
        RepairReport,
        SearchHit,
        Session,
        SessionError,
        SessionInfo,
        SessionSize,
        ShareGrant,
        Snapshot,
        StoreStatistics,
        TrashedSession,
        TreeNode,
        Verdict,
    )
    from hierstore.cli.commits import Commit


def dumps(value: Any) -> str:
    """A value as JSON on one line, in which nothing acts on a terminal."""
    return harmless(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def harmless(text: str) -> str:
    """JSON on one line, with an escape for each character that could act on a terminal."""
    if text.isprintable():
        return text
    return "".join([c if is_harmless(c) else json.dumps(c)[1:-1] for c in text])


def print_json(value: Any) -> None:
    """Print one line of JSON."""
    print(dumps(value), flush=True)  # noqa: T201


def of_info(info: SessionInfo) -> dict[str, Any]:
    """A session's facts."""
    return {
        "id": info.id,
        "title": info.title,
        "kind": info.kind,
        "parent": info.parent_id,
        "labels": list(info.labels),
        "pinned": info.pinned,
        "archived": info.archived,
        "suspended": info.suspended,
        "created_at": info.created_at,
        "updated_at": info.updated_at,
        "revision": info.revision,
        "messages": info.message_count,
        "preview": info.preview,
        "metadata": info.metadata,
    }


def of_session(session: Session) -> dict[str, Any]:
    """A session's facts, with what hangs on it."""
    return {
        **of_info(session.info),
        "forked_at": session.forked_at,
        "children": [child.id for child in session.children],
        "snapshots": [of_snapshot(snapshot) for snapshot in session.snapshots],
        "refs": session.refs,
        "usage": session.usage,
        "routes": list(session.routes),
        "shares": [of_grant(grant) for grant in session.shares],
    }


def of_message(message: Message) -> dict[str, Any]:
    """A message, whole."""
    return {
        "id": message.id,
        "seq": message.seq,
        "role": message.role,
        "content": message.content,
        "at": message.at,
        "metadata": message.metadata,
        "fields": message.fields,
    }


def of_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot."""
    return {
        "id": snapshot.id,
        "label": snapshot.label,
        "revision": snapshot.revision,
        "created_at": snapshot.created_at,
        "metadata": snapshot.metadata,
    }


def of_grant(grant: ShareGrant) -> dict[str, Any]:
    """A share; its token only where it was just made."""
    shown = {
        "id": grant.id,
        "role": grant.role,
        "created_at": grant.created_at,
        "expires_at": grant.expires_at,
        "subtree": grant.subtree,
        "frozen": grant.frozen,
    }
    return shown if grant.token is None else {**shown, "token": grant.token}


def dump_node(node: TreeNode) -> str:
    """A tree as JSON on one line; without recursion, as a hierarchy may be deeper than Python's stack."""
    parts: list[str] = []
    stack: list[TreeNode | str] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        parts.append(dumps(_of_one(item))[:-1] + ',"children":[')
        stack.append("]}")
        for place, child in enumerate(reversed(item.children), 1):
            stack.append(child)
            if place < len(item.children):
                stack.append(",")
    return "".join(parts)


def _of_one(node: TreeNode) -> dict[str, Any]:
    return {
        "id": node.id,
        "title": node.title,
        "kind": node.kind,
        "messages": node.message_count,
        "forked_at": node.forked_at,
        "error": node.error,
    }


def of_event(event: Event) -> dict[str, Any]:
    """A change."""
    return {
        "type": event.type,
        "session": event.session_id,
        "revision": event.revision,
        "at": event.at,
        "messages": [of_message(message) for message in event.messages],
        "data": event.data,
        "missed": event.missed,
    }


def of_commit(commit: Commit, parent: int | None) -> dict[str, Any]:
    """A commit of a log; ``parent`` is the revision that it goes on from, None where a history begins."""
    return {
        "revision": commit.revision,
        "at": commit.at,
        "parent": parent,
        "undone": commit.is_undone,
        "snapshots": commit.snapshots,
        "forks": commit.forks,
        "events": [of_event(event) for event in commit.events],
    }


def of_said(session_id: str, message: Message) -> dict[str, Any]:
    """A message of a session, where those of several come in one stream."""
    return {"session": session_id, **of_message(message)}


def of_hit(hit: SearchHit) -> dict[str, Any]:
    """A search hit; ``marks`` are the places in ``snippet`` that fit."""
    return {
        "session": hit.session_id,
        "message": hit.message_id,
        "seq": hit.seq,
        "role": hit.role,
        "at": hit.at,
        "score": hit.score,
        "snippet": hit.snippet,
        "marks": [list(mark) for mark in hit.marks],
        "reverted": hit.reverted,
        "deleted": hit.deleted,
        "before": [of_message(message) for message in hit.before],
        "after": [of_message(message) for message in hit.after],
    }


def of_trashed(trashed: TrashedSession) -> dict[str, Any]:
    """What is in the trash."""
    return {"id": trashed.id, "deleted_at": trashed.deleted_at, "size_bytes": trashed.size_bytes}


def of_finding(finding: Finding) -> dict[str, Any]:
    """What check or repair says of one thing."""
    return {"kind": finding.kind, "session": finding.session_id, "path": finding.path, "detail": finding.detail}


def of_error(error: SessionError) -> dict[str, Any]:
    """What went wrong with one session, while the others went on."""
    return {"session": error.session_id, "error": error.error}


def of_compaction(report: CompactReport) -> dict[str, Any]:
    """What a compaction did to a session's log."""
    return {
        "id": report.session_id,
        "before_bytes": report.before_bytes,
        "after_bytes": report.after_bytes,
        "dropped_messages": report.dropped_messages,
    }


def of_verdict(verdict: Verdict) -> dict[str, Any]:
    """What the doctor says of one thing."""
    return {"name": verdict.name, "grade": verdict.grade, "found": verdict.found, "advice": verdict.advice}


def of_size(item: SessionSize) -> dict[str, Any]:
    """What a session has on disk, bytes; ``own_bytes`` are those that no other session needs."""
    return {"id": item.id, "size_bytes": item.size_bytes, "own_bytes": item.own_bytes}


def of_disk(usage: DiskUsage) -> dict[str, int]:
    """What each folder of a store has, bytes."""
    names = ("logs", "trash", "quarantine", "index", "other", "total")
    return {name: getattr(usage, name) for name in names}


def of_statistics(found: StoreStatistics) -> dict[str, Any]:
    """How much of everything there is; ``bytes`` by folder."""
    return {
        "sessions": found.sessions,
        "roots": found.roots,
        "archived": found.archived,
        "pinned": found.pinned,
        "suspended": found.suspended,
        "unreadable": found.unreadable,
        "messages": found.messages,
        "usage": found.usage,
        "roles": found.roles,
        "kinds": [{"kind": kind, "sessions": number} for kind, number in found.kinds.items()],
        "labels": found.labels,
        "sessions_by_day": found.sessions_by_day,
        "messages_by_day": found.messages_by_day,
        "bytes": of_disk(found.disk),
    }


def of_check(report: CheckReport) -> dict[str, Any]:
    """What a check found."""
    return {
        "ok": report.ok,
        "sessions": report.sessions,
        "messages": report.messages,
        "problems": [of_finding(finding) for finding in report.problems],
        "notes": [of_finding(finding) for finding in report.notes],
    }


def of_repair(report: RepairReport) -> dict[str, Any]:
    """What a repair did, or would do."""
    return {
        "ok": report.ok,
        "dry_run": report.dry_run,
        "done": [of_finding(finding) for finding in report.done],
        "left": [of_finding(finding) for finding in report.left],
    }
