"""``hierstore tree``: the hierarchy, drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, MaybeSessionName, Root, complain, guarded, opened
from hierstore.cli.naming import find
from hierstore.cli.terminal import console, is_limited
from hierstore.cli.text import count, one_line, safe

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text
    from rich.tree import Tree

    from hierstore import SessionStore, TreeNode, Watcher

_TITLE_CHARS = 80
_LABEL_CELLS = 32
"""What a line keeps for the session itself: where the guides leave less, the branch ends in a hint."""
_MAX_DEPTH = 64
_LOOK_S = 0.5
"""How often to look whether the window has another size."""
_QUIET_S = 0.1
"""How long nothing has to change before the tree is drawn again."""
_MOST_EVENTS = 1000


@guarded
def command(
    session: MaybeSessionName = None,
    root: Root = None,
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", min=0, help="Draw N levels only.", show_default=False)
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw it again whenever the store changes, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Draw the hierarchy.

    A line is a session's id, its kind, how many messages it has, and its title. "fork at #2" says that it began with the
    first 2 messages of the session it was forked from. With --json a line has the whole tree, however many levels are
    drawn; with --watch too there is one for each change.

    \b
    Example:
      hierstore tree support-42
    """
    with opened(root) as store:
        session_id = None if session is None else find(store, session).id
        if watch:
            # Before the first look: what changes in between is heard of.
            with store.watch() as watcher:
                _follow(store, watcher, session_id, depth, as_json=as_json)
        elif as_json:
            _print_json(_roots(store, session_id))
        else:
            roots = _roots(store, session_id)
            if roots:
                draw(console(), roots, depth)
            else:
                complain("The store holds no sessions yet; `hierstore new` makes one.")


def draw(screen: Console, roots: Sequence[TreeNode], depth: int | None = None) -> None:
    """Print the totals and the trees."""
    screen.print(drawn(screen, roots, depth))


def _roots(store: SessionStore, session_id: str | None) -> Sequence[TreeNode]:
    return store.tree() if session_id is None else (store.tree(session_id),)


def _print_json(roots: Sequence[TreeNode]) -> None:
    from hierstore.cli.shapes import dump_node

    typer.echo(f'{{"roots":[{",".join(map(dump_node, roots))}]}}')


# Following


def _follow(store: SessionStore, watcher: Watcher, session_id: str | None, depth: int | None, *, as_json: bool) -> None:
    """Draw, and again whenever something changes, until the user has enough."""
    screen = console()
    if as_json or not screen.is_terminal or screen.is_dumb_terminal:
        while True:
            roots = _roots(store, session_id)
            if as_json:
                _print_json(roots)
            else:
                draw(screen, roots, depth)
                screen.print()
            _await_change(watcher, screen, screen.size)
    from rich.live import Live

    # On a screen of its own, as an editor's: what the window is too small for cannot be drawn over elsewhere.
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            size = screen.size
            live.update(_cropped(screen, drawn(screen, _roots(store, session_id), depth)), refresh=True)
            _await_change(watcher, screen, size)


def _await_change(watcher: Watcher, screen: Console, size: tuple[int, int]) -> None:
    """Wait for a change, and for the end of those that come together; or for another size of the window."""
    while watcher.next(timeout_s=_LOOK_S) is None:
        if screen.size != size:
            return
    for _ in range(_MOST_EVENTS):
        if watcher.next(timeout_s=_QUIET_S) is None:
            return


def _cropped(screen: Console, tree: RenderableType) -> RenderableType:
    """As much of a tree as the window has room for, and how much that leaves out."""
    from rich.console import Group
    from rich.segment import Segment, Segments
    from rich.text import Text

    lines = screen.render_lines(tree, pad=False)
    if len(lines) <= screen.height:
        return tree
    shown = lines[: max(1, screen.height - 1)]
    pieces = [piece for line in shown for piece in (*line, Segment.line())]
    more = count(len(lines) - len(shown), "more line")
    return Group(Segments(pieces), Text(f"… {more}: a session, --depth or a larger window", style="dim", no_wrap=True))


# Drawing


def drawn(screen: Console, roots: Sequence[TreeNode], depth: int | None = None) -> RenderableType:
    """The totals and the trees, to be printed."""
    from rich.console import Group
    from rich.text import Text
    from rich.tree import Tree

    nodes = list(_all(roots))
    messages = count(sum(node.message_count for node in nodes), "message")
    totals = Text(f"{count(len(roots), 'root')}, {count(len(nodes), 'session')}, {messages}", style="dim")
    tree = Tree("", hide_root=True, guide_style="dim")
    deepest = _MAX_DEPTH if not is_limited(screen) else max(1, (screen.width - _LABEL_CELLS) // 4)
    _grow(tree, roots, screen.width, deepest if depth is None else min(depth, deepest))
    return Group(totals, tree)


def _all(roots: Sequence[TreeNode]) -> Iterator[TreeNode]:
    stack = list(roots)
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children)


def _grow(tree: Tree, roots: Sequence[TreeNode], width: int, deepest: int) -> None:
    """Hang the nodes in; without recursion, as a hierarchy may be deeper than Python's stack."""
    stack = [(tree, node, 0) for node in reversed(roots)]
    while stack:
        above, node, level = stack.pop()
        is_cut = level == deepest and bool(node.children)
        branch = above.add(_label(node, width - 4 * level, is_cut=is_cut))
        if not is_cut:
            stack.extend((branch, child, level + 1) for child in reversed(node.children))


def _label(node: TreeNode, room: int, *, is_cut: bool) -> Text:
    """One line: the id, cut so that the facts stay in sight, the facts, and of the title what there is room for."""
    from rich.text import Text

    from hierstore.cli.lines import put

    tail = "  " + ", ".join(_facts(node, is_cut=is_cut))
    name = Text(safe(node.id), style="bold")
    name.truncate(max(12, room - len(tail) - (3 if node.title else 0)), overflow="ellipsis")
    label = Text(no_wrap=True, overflow="ellipsis")
    put(label, name)
    label.append(tail, style="cyan")
    left = room - label.cell_len - 2
    if node.title and left > 0:
        # Cut here: what turns the line has to be closed on it.
        title = Text(one_line(node.title, _TITLE_CHARS))
        title.truncate(left, overflow="ellipsis")
        put(label.append("  "), title)
    return label


def _facts(node: TreeNode, *, is_cut: bool) -> Iterator[str]:
    if node.kind:
        yield one_line(node.kind, 20)
    if node.forked_at is not None:
        yield f"fork at #{node.forked_at:,}"
    if node.error is not None:
        yield "cannot be read"
    elif node.message_count or not node.children:
        yield count(node.message_count, "message")
    if is_cut:
        yield f"{len(list(_all(node.children))):,} more below"
    elif node.children:
        yield count(len(node.children), "child", "children")
