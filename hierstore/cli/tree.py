"""``hierstore tree``: the hierarchy, drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import Root, guarded, required_root
from hierstore.cli.terminal import console, is_limited
from hierstore.cli.text import count, one_line, safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    from hierstore import TreeNode

_TITLE_CHARS = 80
_LABEL_CELLS = 32
"""What a line keeps for the session itself: where the guides leave less, the branch ends in a hint."""
_MAX_DEPTH = 64


@guarded
def command(
    session: Annotated[
        str | None,
        typer.Argument(metavar="[SESSION]", help="Only this session and what is below it.", show_default=False),
    ] = None,
    root: Root = None,
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", min=0, help="Draw N levels only.", show_default=False)
    ] = None,
) -> None:
    """Draw the hierarchy: each session's id, kind, number of messages and title."""
    from hierstore import SessionStore

    with SessionStore(required_root(root), read_only=True) as store:
        roots = store.tree() if session is None else (store.tree(session),)
    screen = console()
    if not roots:
        screen.print("The store holds no sessions yet.")
        return
    draw(screen, roots, depth)


def draw(screen: Console, roots: Sequence[TreeNode], depth: int | None = None) -> None:
    """Print the totals and the trees."""
    from rich.text import Text
    from rich.tree import Tree

    nodes = list(_all(roots))
    messages = count(sum(node.message_count for node in nodes), "message")
    screen.print(Text(f"{count(len(roots), 'root')}, {count(len(nodes), 'session')}, {messages}", style="dim"))
    drawn = Tree("", hide_root=True, guide_style="dim")
    deepest = _MAX_DEPTH if not is_limited(screen) else max(1, (screen.width - _LABEL_CELLS) // 4)
    _grow(drawn, roots, screen.width, deepest if depth is None else min(depth, deepest))
    screen.print(drawn)


def _all(roots: Sequence[TreeNode]) -> Iterator[TreeNode]:
    stack = list(roots)
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children)


def _grow(drawn: Tree, roots: Sequence[TreeNode], width: int, deepest: int) -> None:
    """Hang the nodes in; without recursion, as a hierarchy may be deeper than Python's stack."""
    stack = [(drawn, node, 0) for node in reversed(roots)]
    while stack:
        above, node, level = stack.pop()
        is_cut = level == deepest and bool(node.children)
        branch = above.add(_label(node, width - 4 * level, is_cut=is_cut))
        if not is_cut:
            stack.extend((branch, child, level + 1) for child in reversed(node.children))


def _label(node: TreeNode, room: int, *, is_cut: bool) -> Text:
    """One line: the id, cut so that the facts stay in sight, the facts, and of the title what there is room for."""
    from rich.text import Text

    facts = [one_line(node.kind, 20)] if node.kind else []
    if node.error is not None:
        facts.append("cannot be read")
    elif node.message_count or not node.children:
        facts.append(count(node.message_count, "message"))
    if is_cut:
        facts.append(f"{len(list(_all(node.children))):,} more below")
    elif node.children:
        facts.append(count(len(node.children), "child", "children"))
    tail = "  " + ", ".join(facts)
    name = Text(safe(node.id), style="bold")
    name.truncate(max(12, room - len(tail) - (3 if node.title else 0)), overflow="ellipsis")
    label = Text(no_wrap=True, overflow="ellipsis").append_text(name).append(tail, style="cyan")
    return label.append(f"  {one_line(node.title, _TITLE_CHARS)}") if node.title else label
