"""``hierstore log``: how a session came to be what it is, commit by commit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, Root, SessionName, guarded, opened
from hierstore.cli.naming import find
from hierstore.cli.text import count, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.text import Text

    from hierstore import Session
    from hierstore.cli.commits import Commit
    from hierstore.cli.graph import Row

_LABEL_CHARS = 32
_MOST_FORKS = 3
_WHAT_CELLS = 14
_GRAPH_CELLS = 20
"""Beyond so many the columns behind the graph are not kept in line."""


@guarded
def command(
    session: SessionName,
    root: Root = None,
    last: Annotated[
        int | None, typer.Option("--last", metavar="N", min=1, help="Only the N newest.", show_default=False)
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The oldest first.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Messages whole, below their line.")] = False,
    graph: Annotated[
        bool | None,
        typer.Option("--graph/--no-graph", help="Draw the graph, or not; else only in a terminal.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    r"""Print the history of a session's changes, as a graph.

    The newest comes first. A line is a revision (r4), how long ago it was, the snapshots and forks that begin there, and
    what happened: a message (#3 user), or another change. What a revert or a reset took out of the history stays in the
    log: it is a branch beside it, marked with a circle. Into a pipe: fields between tabs, without the graph.

    \b
    Example:
      hierstore log support-42
    """
    from hierstore.cli.commits import note_forks, read

    with opened(root) as store:
        found = find(store, session)
        commits = read(store, found)
        note_forks(commits, found)
        names = _names(found)
    first = 0 if last is None else max(0, len(commits) - last)
    places = range(first, len(commits)) if reverse else range(len(commits) - 1, first - 1, -1)
    if as_json:
        _print_lines(commits, places)
        return
    from hierstore.cli.terminal import console, is_limited

    screen = console()
    page = _Page(screen, names, is_full=full)
    if is_limited(screen) if graph is None else graph:
        page.draw(commits, places, reverse)
    else:
        page.list(commits, places)


def _names(session: Session) -> dict[int, str]:
    return {snapshot.revision: snapshot.label for snapshot in session.snapshots if snapshot.label}


def _print_lines(commits: Sequence[Commit], places: Sequence[int]) -> None:
    from hierstore.cli.shapes import of_commit, print_json

    for place in places:
        parent = commits[place].parent
        print_json(of_commit(commits[place], None if parent is None else commits[parent].revision))


class _Page:
    """Prints commits.

    Args:
        screen: where to.
        names: the labels of snapshots, by revision.
        is_full: whether messages follow whole.
    """

    def __init__(self, screen: Console, names: Mapping[int, str], *, is_full: bool) -> None:
        self._screen = screen
        self._names = names
        self._is_full = is_full

    def list(self, commits: Sequence[Commit], places: Sequence[int]) -> None:
        """Fields between tabs: revision, time, whether it is undone, what, text, snapshots and forks."""
        from hierstore.cli.times import moment

        for place in places:
            commit = commits[place]
            what, text, _ = self._words(commit)
            fields = [_revision(commit), moment(commit.at), "undone" if commit.is_undone else "", what, text]
            self._screen.file.write("\t".join([*fields, ", ".join(_marks(commit, None))]) + "\n")
            self._bodies(commit, "")
        self._screen.file.flush()

    def draw(self, commits: Sequence[Commit], places: Sequence[int], is_reverse: bool) -> None:
        """The graph, with a line for each commit."""
        from hierstore.cli.graph import Node, has_marks, rows

        newest_first = sorted(places, reverse=True)
        nodes = [Node(place, commits[place].parent, commits[place].is_undone) for place in newest_first]
        is_ascii = not has_marks(self._screen.encoding)
        drawn = dict(zip(newest_first, rows(nodes, oldest_first=is_reverse, is_ascii=is_ascii), strict=True))
        graph_cells = min(_GRAPH_CELLS, max((len(row.mark) for row in drawn.values()), default=0))
        revision_cells = max((len(_revision(commits[place])) for place in places), default=0)
        for place in places:
            row = drawn[place]
            if is_reverse and row.join:
                self._join(row.join)
            self._line(commits[place], row, graph_cells, revision_cells)
            self._bodies(commits[place], f"{row.more:<{graph_cells}}"[: self._screen.width // 3])
            if not is_reverse and row.join:
                self._join(row.join)
        if any(commits[place].is_undone for place in places) and sys.stdout.isatty():
            from hierstore.cli.common import complain

            complain(f"({'o' if is_ascii else '○'}: out of the history now)")

    def _join(self, join: str) -> None:
        from hierstore.cli.lines import print_cut

        print_cut(self._screen, [_limited(join, 0, self._screen.width // 3, "dim")])

    def _line(self, commit: Commit, row: Row, graph_cells: int, revision_cells: int) -> None:
        from rich.text import Text

        from hierstore.cli.lines import print_cut
        from hierstore.cli.times import ago

        what, text, style = self._words(commit)
        cells = Text(what, style=style)
        if text and cells.cell_len < _WHAT_CELLS:
            cells.pad_right(_WHAT_CELLS - cells.cell_len)
        fields = [
            _limited(row.mark, graph_cells, self._screen.width // 3, "dim" if commit.is_undone else ""),
            Text(f"{_revision(commit):<{revision_cells}}", style="yellow"),
            Text(f"{ago(commit.at):<9}", style="dim"),
            *[_limited(f"({mark})", 0, self._screen.width // 3, "bold green") for mark in _marks(commit, _MOST_FORKS)],
            cells,
            Text(text, style="dim" if commit.is_undone else ""),
        ]
        print_cut(self._screen, fields)

    def _words(self, commit: Commit) -> tuple[str, str, str]:
        """What happened, to what, and the first word's style."""
        from hierstore.cli.changes import told

        first, *others = [told(event, self._names) for event in commit.events]
        if first.what == "forked":
            first = first._replace(text=f"{first.text}, with {count(commit.length - commit.brought, 'message')}")
        if self._is_full and commit.brought:
            # It follows whole.
            first = first._replace(text="")
        more = [f"{other.what} {other.text}".rstrip() for other in others]
        return first.what, "; ".join([first.text, *more]) if more else first.text, first.style

    def _bodies(self, commit: Commit, bars: str) -> None:
        """The commit's messages, whole."""
        if not self._is_full:
            return
        from hierstore.cli.lines import body, draw, heading, style_of

        for event in commit.events:
            for message in event.messages:
                if len(event.messages) > 1:
                    style = style_of(message.role)
                    draw(self._screen, [heading(message)], prefix=f"{bars}    ", style=style, prefix_style="")
                draw(self._screen, body(message), prefix=f"{bars}      ")


def _limited(mark: str, cells: int, most: int, style: str) -> Text:
    """A mark at least and at most so wide: there may be more branches, and longer names, than a terminal has room for."""
    from rich.text import Text

    text = Text(f"{mark:<{cells}}", style=style)
    text.truncate(max(most, 1), overflow="ellipsis")
    return text


def _revision(commit: Commit) -> str:
    return "-" if commit.revision is None else f"r{commit.revision}"


def _marks(commit: Commit, most: int | None) -> Iterator[str]:
    """What begins at a commit: snapshots that name it, forks."""
    for label in commit.snapshots:
        yield f"snapshot {one_line(label, _LABEL_CHARS)}"
    forks = commit.forks if most is None else commit.forks[:most]
    for fork_id in forks:
        yield f"fork {one_line(fork_id, _LABEL_CHARS if most else 512)}"
    if len(commit.forks) > len(forks):
        yield f"+{len(commit.forks) - len(forks)} forks"
