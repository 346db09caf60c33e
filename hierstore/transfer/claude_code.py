"""Claude Code's transcripts: a folder for each project, in it a JSONL file for each session.

::

    <session>.jsonl                                 one record a line; user and assistant records are messages
    <session>/subagents/agent-<id>.jsonl            a subagent's own, with a .meta.json (older versions: in the project)

Records with a ``uuid`` form a tree by ``parentUuid``: who rewinds and goes on makes a branch, and what was said before
stays in the file. What becomes of it:

- The history is the chain from the last message up to the root, as Claude Code itself resumes. To it belong, though they
  hang beside the chain: the other lines of an answer that was written as several, the results of tools that were called
  in parallel, and the summaries of compactions. A compaction does not end the chain: it goes on with what was
  compacted. Where a parent is missing (its line is torn, say), it goes on with the message before it in the file.
- Each abandoned branch is a child session of kind ``"branch"``, named ``<session>/branch-<uuid>`` after its first
  message. It holds only its own messages; ``metadata["claude_code"]["branched_from"]`` is the id of the message of its
  parent after which it begins, or None where it begins anew.
- Each subagent is a child of kind ``"delegate"``, named ``<session>/agent-<id>``: the short ids alone are not unique. One
  that another subagent started hangs below that one. Sidechains in a session's own file (older versions) are delegates
  too, ``<session>/sidechain-<uuid>``. A file with messages of another session (``forkedFrom``) is that one's branch.
- All other records are in ``metadata["claude_code"]["records"]`` of the file's session, as they are, with their line.
- What stands beside a message's role and content (``model``, ``usage``, …) are its ``fields``; the rest of its record
  (``requestId``, ``cwd``, …) is its ``metadata["claude_code"]``.
- The title is the last that the user gave, else the last that was made up, else the last summary of this history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from hierstore.errors import InvalidRecord
from hierstore.transfer import foreign
from hierstore.transfer.foreign import ForeignMessage, ForeignSession, Metadata, Problem, Report

NOTHING: Final = "no transcript: no file that ends in .jsonl, beside or in a folder named subagents"
_KEY: Final = "claude_code"
_SPEAKING: Final = ("user", "assistant")
_TITLES: Final = {"custom-title": "customTitle", "ai-title": "aiTitle"}
_LONGEST_NAME: Final = f"sidechain-line-{2**63}"
# How far above a compaction's summary the history is looked for: hooks write records in between.
_SUMMARY_STEPS: Final = 8
_LOOK_LINES: Final = 20
_MARKS: Final = frozenset(["sessionId", "uuid", "leafUuid", "messageId"])


@dataclass(frozen=True, slots=True)
class _Source:
    """A transcript, before it is read."""

    path: Path
    id: str
    parent_id: str | None
    kind: str | None
    sidecar: dict[str, Any] | None = None


@dataclass(slots=True)
class _Node:
    """A place in a transcript's tree: a message, or another record that only links."""

    line: int
    parent: str | None
    is_dangling: bool
    is_sidechain: bool
    is_summary: bool
    message: ForeignMessage | None = None
    answer_id: str | None = None
    calls: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    above: int | None = None
    owner: int | None = None
    anchor: int | None = None
    rank: int = 0


@dataclass(slots=True)
class _Group:
    """The places that make one session, and the place where it leaves another."""

    attach: int | None = None
    members: list[int] = field(default_factory=list)


def has_files(folder: Path) -> bool:
    """Whether the folder has files of the layout, by their names."""
    return any(True for _ in _sources(folder, foreign.silent))


def recognises(folder: Path) -> bool:
    """Whether one of the folder's transcripts begins with records of this layout."""
    for source in _sources(folder, foreign.silent):
        with closing(foreign.read_lines(source.path, foreign.silent)) as lines:
            if any("type" in record and _MARKS & record.keys() for _, record in islice(lines, _LOOK_LINES)):
                return True
    return False


def read_folder(folder: Path, report: Report) -> Iterator[ForeignSession]:
    """Every session of the project, parents first. A first look reads names, sidecars and files' first messages."""
    sources: dict[str, _Source] = {}
    for source in _sources(folder, report):
        if foreign.maybe_id(f"{source.id}/{_LONGEST_NAME}") is None:
            report(Problem(str(source.path), None, "The session's id, or its branches', would be too long or no text."))
        elif sources.setdefault(source.id, source) is not source:
            report(Problem(str(source.path), None, f"There is another file of session {source.id!r}; that one counts."))
    places = {source.id: (source.path, source.parent_id) for source in sources.values()}
    for session_id, parent_id in foreign.arrange(places, report):
        yield from _Transcript(sources[session_id], report).sessions(parent_id)


def _sources(folder: Path, report: Report) -> Iterator[_Source]:
    files, folders = foreign.entries(folder, report)
    transcripts = {path.stem: path for path in files if path.suffix == ".jsonl"}
    yield from map(_beside, transcripts.values())
    for path in files:
        if path.suffix != ".jsonl":
            foreign.left_out(path, report)
    for companion in folders:
        inner_files, inner_folders = foreign.entries(companion, report)
        subagents = [path for path in inner_folders if path.name == "subagents"]
        for path in [*inner_files, *inner_folders] if subagents or companion.name in transcripts else [companion]:
            if path in subagents:
                yield from _subagents(companion.name, path, report)
            else:
                foreign.left_out(path, report)


def _beside(path: Path) -> _Source:
    """A transcript in the project's folder itself, which says in its first message where it belongs."""
    with closing(foreign.read_lines(path, foreign.silent)) as lines:
        first = next((record for _, record in lines if record.get("type") in _SPEAKING), {})
    if path.stem.startswith("agent-"):
        parent_id = foreign.maybe_id(first.get("sessionId"))
        return _Source(path, f"{parent_id}/{path.stem}" if parent_id else path.stem, parent_id, "delegate")
    origin = first.get("forkedFrom")
    parent_id = foreign.maybe_id(origin.get("sessionId")) if isinstance(origin, dict) else None
    return _Source(path, path.stem, parent_id, "branch" if parent_id else None)


def _subagents(session_id: str, folder: Path, report: Report) -> Iterator[_Source]:
    """The transcripts in a session's folder of subagents, and in folders in it."""
    found: dict[Path, dict[str, Any] | None] = {}
    pending = [folder]
    while pending:
        files, folders = foreign.entries(pending.pop(), report)
        pending += reversed(folders)
        sidecars = {path.with_suffix(".meta.json"): path for path in files if path.match("agent-*.jsonl")}
        found.update(dict.fromkeys(sidecars.values()))
        for path in files:
            if path in sidecars:
                found[sidecars[path]] = foreign.read_object(path, report)
            elif path not in found:
                foreign.left_out(path, report)
    ids = {path: f"{session_id}/{path.relative_to(folder).with_suffix('').as_posix()}" for path in found}
    by_agent = {path.stem: ids[path] for path in found}
    for path, facts in found.items():
        starter = by_agent.get(f"agent-{(facts or {}).get('parentAgentId')}")
        yield _Source(path, ids[path], starter or session_id, "delegate", facts)


class _Transcript:
    """One file's records: read, made a tree, and cut into sessions."""

    def __init__(self, source: _Source, report: Report) -> None:
        self._source = source
        self._report = report
        self._room = Metadata(source.path, report)
        self._sidecar = source.sidecar if source.sidecar and self._room.fits(source.sidecar, "sidecar", depth=2) else {}
        self._nodes: list[_Node] = []
        self._by_uuid: dict[str, int] = {}
        self._records: list[dict[str, Any]] = []
        self._titles: dict[str, Any] = {}
        self._summaries: list[tuple[Any, Any]] = []
        self._created_at: float | None = None

    def _problem(self, line: int | None, detail: str) -> None:
        self._report(Problem(str(self._source.path), line, detail))

    def sessions(self, parent_id: str | None) -> Iterator[ForeignSession]:
        """The file's session and what hangs below it; none, and a report, if no record can be read."""
        for line, record in foreign.read_lines(self._source.path, self._report):
            self._take(line, record)
        if not self._nodes and not self._records:
            self._problem(None, "The file holds no record that can be read.")
            return
        self._link()
        groups = self._groups()
        titles = self._titles_of(groups)
        ids: list[str] = []
        for number, group in enumerate(groups or [_Group()]):
            session = self._first(group, parent_id) if number == 0 else self._below(group, ids)
            ids.append(session.id)
            yield replace(session, title=self._room.title(titles.get(number)))

    def _take(self, line: int, record: dict[str, Any]) -> None:
        """Put a record where it belongs."""
        said, uuid = record.get("message"), record.get("uuid")
        self._created_at = self._created_at or foreign.unix_seconds(record.get("timestamp"))
        node = _node(line, record, self._source.kind == "delegate")
        speaks = record.get("type") in _SPEAKING and isinstance(said, dict) and "content" in said
        if speaks:
            try:
                node.message = _message(record)
            except InvalidRecord as error:
                self._problem(line, f"The message was skipped: {error}")
        else:
            self._keep(line, record)
        if isinstance(uuid, str) and uuid in self._by_uuid:
            if speaks:
                self._problem(line, f"The id {uuid[:80]!r} was there before; the first one counts.")
                # A compaction may write the same lines again; of those, nothing is lost.
                if self._nodes[self._by_uuid[uuid]].message != node.message:
                    self._keep(line, record)
            return
        if isinstance(uuid, str):
            self._by_uuid[uuid] = len(self._nodes)
        self._nodes.append(node)

    def _keep(self, line: int, record: dict[str, Any]) -> None:
        if self._room.fits(record, "record", depth=4, line=line):
            self._records.append({"line": line, "record": record})
        for kind, key in _TITLES.items():
            if record.get("type") == kind:
                self._titles[kind] = record.get(key) or self._titles.get(kind)
        if record.get("type") == "summary":
            self._summaries.append((record.get("leafUuid"), record.get("summary")))

    def _link(self) -> None:
        """Find what each place follows."""
        is_mixed = any(node.message is not None and not node.is_sidechain for node in self._nodes)
        last: dict[bool, int] = {}
        for index, node in enumerate(self._nodes):
            node.is_sidechain = node.is_sidechain and is_mixed
            node.above = self._by_uuid.get(node.parent) if node.parent is not None else None
            before = last.get(node.is_sidechain)
            if node.above is None and before is not None and (node.parent is not None or node.is_dangling):
                node.above = before
                if node.parent is not None:
                    follows = self._nodes[before].line
                    self._problem(node.line, f"Its parent is missing; it is taken to follow line {follows:,}.")
            if node.message is not None:
                last[node.is_sidechain] = index

    def _groups(self) -> list[_Group]:
        """The present history first, then each branch after what it branches from."""
        beside = _Beside(self._nodes)
        heads = [index for index, node in enumerate(self._nodes) if node.message is not None]
        heads.sort(key=lambda index: (self._nodes[index].is_sidechain, -index))
        groups: list[_Group] = []
        for head in heads:
            if self._nodes[head].owner is None:
                groups.append(self._chain(head, len(groups)))
                beside.take(groups[-1], len(groups) - 1)
                if len(groups) == 1:
                    beside.take_summaries(groups[0])
        return groups

    def _chain(self, head: int, number: int) -> _Group:
        """All that leads to a message and is in no other session."""
        nodes, chain = self._nodes, []
        above: int | None = head
        while above is not None and nodes[above].owner is None:
            nodes[above].owner = number
            chain.append(above)
            above = nodes[above].above
        attach = above if above is not None and nodes[above].owner != number else None
        if above is not None and attach is None:
            self._problem(nodes[chain[-1]].line, "It is below itself by way of its parents, so it becomes a beginning.")
        anchor, rank = None if attach is None else nodes[attach].anchor, 0
        chain.reverse()
        for index in chain:
            rank = max(rank, nodes[index].line)
            anchor = anchor if nodes[index].message is None else index
            nodes[index].rank, nodes[index].anchor = rank, anchor
        return _Group(attach, [index for index in chain if nodes[index].message is not None])

    def _titles_of(self, groups: list[_Group]) -> dict[int, Any]:
        titles: dict[int, Any] = {}
        for leaf, text in self._summaries:
            # Older versions wrote summaries of other files' histories too: they are no title here.
            place = self._by_uuid.get(leaf) if isinstance(leaf, str) and groups else None
            owner = 0 if leaf is None or not groups else None if place is None else self._nodes[place].owner
            if owner is not None:
                titles[owner] = text
        given = [self._titles.get(kind) for kind in _TITLES] + [
            self._sidecar.get(key) for key in ("description", "name")
        ]
        return {**titles, 0: next(filter(None, given), titles.get(0))}

    def _history(self, group: _Group) -> list[ForeignMessage]:
        ordered = sorted(group.members, key=lambda index: self._nodes[index].rank)
        return [message for index in ordered if (message := self._nodes[index].message) is not None]

    def _first(self, group: _Group, parent_id: str | None) -> ForeignSession:
        facts = {key: value for key, value in (("agent", self._sidecar), ("records", self._records)) if value}
        kind = None if self._source.kind == "branch" and parent_id is None else self._source.kind
        messages = self._history(group)
        return ForeignSession(self._source.id, parent_id, None, kind, self._created_at, {_KEY: facts}, (), messages, ())

    def _below(self, group: _Group, ids: list[str]) -> ForeignSession:
        """A branch or an inline sidechain, below the session that it leaves."""
        nodes = self._nodes
        attach = None if group.attach is None else nodes[group.attach]
        messages, start = self._history(group), nodes[group.members[0]]
        is_delegate = start.is_sidechain and not (attach is not None and attach.is_sidechain)
        kind, word = ("delegate", "sidechain") if is_delegate else ("branch", "branch")
        origin = None if attach is None or attach.anchor is None else nodes[attach.anchor].message
        metadata = {_KEY: {"branched_from": origin and origin.id}}
        parent_id = ids[0 if attach is None or attach.owner is None else attach.owner]
        base = f"{self._source.id}/{word}-"
        session_id = (messages[0].id and foreign.maybe_id(base + messages[0].id)) or f"{base}line-{start.line}"
        return ForeignSession(session_id, parent_id, None, kind, messages[0].at, metadata, (), messages, ())


class _Beside:
    """What hangs beside a chain and belongs to it all the same."""

    def __init__(self, nodes: list[_Node]) -> None:
        self._nodes = nodes
        self._answers: dict[str, list[int]] = {}
        self._results: dict[str, list[int]] = {}
        self._summaries: list[int] = []
        for index, node in enumerate(nodes):
            if node.answer_id:
                self._answers.setdefault(node.answer_id, []).append(index)
            for call in node.results:
                self._results.setdefault(call, []).append(index)
            if node.is_summary:
                self._summaries.append(index)

    def take(self, group: _Group, number: int) -> None:
        """Add the other lines of its answers, and the results of its calls."""
        # Grows while it is gone through: a result may answer a call in a line that was added.
        for index in group.members:
            node = self._nodes[index]
            near = self._answers.pop(node.answer_id or "", [])
            for call in node.calls:
                near += self._results.pop(call, [])
            for other in near:
                if self._nodes[other].owner is None:
                    self._add(group, number, other, node.rank)

    def take_summaries(self, group: _Group) -> None:
        """Add the summaries of compactions of the present history."""
        nodes = self._nodes
        for index in self._summaries:
            trail, at = [index], nodes[index].above
            while at is not None and nodes[at].owner is None and not nodes[at].message and len(trail) < _SUMMARY_STEPS:
                trail.append(at)
                at = nodes[at].above
            if nodes[index].owner is None and at is not None and nodes[at].owner == 0:
                for place in reversed(trail):
                    self._add(group, 0, place, nodes[at].rank)

    def _add(self, group: _Group, number: int, index: int, rank: int) -> None:
        node = self._nodes[index]
        node.owner, node.rank = number, max(rank, node.line)
        if node.message is not None:
            node.anchor = index
            group.members.append(index)


def _node(line: int, record: Mapping[str, Any], is_delegate: bool) -> _Node:
    named = (record.get("parentUuid"), record.get("logicalParentUuid"))
    linked = next((uuid for uuid in named if isinstance(uuid, str)), None)
    is_summary = record.get("isCompactSummary") is True
    # A record without the key is of no tree: it follows what was written before it.
    is_dangling = "parentUuid" not in record or is_summary
    is_sidechain = record.get("isSidechain") is True and not is_delegate
    node = _Node(line, linked, is_dangling, is_sidechain, is_summary)
    said = record.get("message")
    if isinstance(said, dict):
        content = said.get("content")
        parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        if record.get("type") == "assistant" and isinstance(said.get("id"), str):
            node.answer_id = said["id"]
        node.calls = _texts(parts, "tool_use", "id")
        node.results = _texts(parts, "tool_result", "tool_use_id")
    return node


def _texts(parts: list[dict[str, Any]], kind: str, key: str) -> tuple[str, ...]:
    return tuple(part[key] for part in parts if part.get("type") == kind and isinstance(part.get(key), str))


def _message(record: Mapping[str, Any]) -> ForeignMessage:
    said = record["message"]
    return foreign.checked_message(
        said.get("role", record["type"]),
        said["content"],
        id=foreign.maybe_id(record.get("uuid")),
        at=foreign.unix_seconds(record.get("timestamp")),
        metadata={_KEY: {key: value for key, value in record.items() if key != "message"}},
        fields={key: value for key, value in said.items() if key not in ("role", "content")},
    )
