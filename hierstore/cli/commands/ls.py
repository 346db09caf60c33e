"""``hierstore ls``: sessions, the latest changed first."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, complain, guarded, misused, opened
from hierstore.cli.text import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hierstore import Page, SessionInfo, SessionStore, TrashedSession

_MOST = 10_000


class Order(StrEnum):
    """What sessions can be ordered by; the values are the API's words."""

    UPDATED = "updated"
    CREATED = "created"
    TITLE = "title"


Parent = Annotated[
    str | None,
    typer.Option(
        "--parent", metavar="SESSION", help="Only its children.", show_default=False, autocompletion=completion.sessions
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="LABEL",
        help="Only those with it; several: with all of them.",
        show_default=False,
        autocompletion=completion.labels,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option("--kind", metavar="WORD", help="Only those made for that: branch, delegate, …", show_default=False),
]
By = Annotated[Order, typer.Option("--order", help="The latest changed or made first, or by title.")]
After = Annotated[
    str | None,
    typer.Option("--after", metavar="CURSOR", help="Go on behind a page: `next` of its --json.", show_default=False),
]


@guarded
def command(
    root: Root = None,
    parent: Parent = None,
    roots: Annotated[bool, typer.Option("--roots", help="Only sessions without a parent.")] = False,
    label: Labels = None,
    kind: Kind = None,
    pinned: Annotated[bool, typer.Option("--pinned", help="Only pinned ones.")] = False,
    suspended: Annotated[bool, typer.Option("--suspended", help="Only those that wait to be resumed.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Only archived ones.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Archived ones too.")] = False,
    trash: Annotated[bool, typer.Option("--trash", help="What is in the trash, the latest deleted first.")] = False,
    order: By = Order.UPDATED,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=_MOST, help="How many on a page.")] = 50,
    page: Annotated[int, typer.Option("--page", metavar="N", min=1, help="Which page.")] = 1,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    r"""List sessions.

    The first column is a number that every command takes for the session until the next listing. FLAGS are * for pinned,
    "archived" and "suspended". Where a session has no title, its last message is shown in quotes. Archived sessions are
    left out unless asked for. --page shows what there is now; --after goes on by the places that sessions had when the
    first page was shown.

    \b
    Example:
      hierstore ls --label refunds
    """
    filters: dict[str, object] = {
        "roots": roots,
        "label": label or None,
        "kind": kind,
        "pinned": pinned or None,
        "suspended": suspended or None,
        "archived": archived,
    }
    if trash and (any(filters.values()) or everything or parent is not None or after is not None):
        raise misused("--trash goes with --limit, --page and --json alone.")
    if archived and everything:
        raise misused("--archived and --all contradict each other: --all shows archived sessions among the others.")
    if roots and parent is not None:
        raise misused("--roots and --parent contradict each other: children are no roots.")
    if after is not None and page > 1:
        raise misused("--after and --page contradict each other: --after says where to go on.")
    if limit * page > _MOST:
        raise misused(f"--page reaches {_MOST:,} sessions; go on with --after, which --json tells.")
    with opened(root) as store:
        if trash:
            _list_trash(store, limit, page, as_json=as_json)
            return
        filters |= {"order": order.value, **({"archived": None} if everything else {})}
        _list(store, parent, filters, limit, page, after, as_json=as_json)


def _list(
    store: SessionStore,
    parent: str | None,
    filters: dict[str, object],
    limit: int,
    page: int,
    after: str | None,
    *,
    as_json: bool,
) -> None:
    from hierstore.cli.memory import Memory

    if parent is not None:
        from hierstore.cli.naming import find

        filters["parent"] = find(store, parent)
    # From the first page on: so each number means what it meant there.
    found: Page[SessionInfo] = store.sessions(**filters, limit=limit * page, after=after)  # type: ignore[arg-type]
    Memory(store.root).list([info.id for info in found.items])
    infos = found.items[limit * (page - 1) :]
    if as_json:
        from hierstore.cli.shapes import of_info, print_json

        print_json({"sessions": [of_info(info) for info in infos], "next": found.next})
        return
    _draw(infos, limit * (page - 1) + 1, by_creation=filters["order"] == Order.CREATED.value)
    if not infos:
        complain("No sessions on that page." if page > 1 else _nothing(store, filters))
    elif found.next is not None and after is None:
        complain(f"{count(len(found.items), 'session')} so far, and there are more: the same with --page {page + 1}.")
    elif found.next is not None:
        complain(f"There are more: the same with --after {found.next}")


def _nothing(store: SessionStore, filters: dict[str, object]) -> str:
    if not store.sessions(limit=1, archived=None).items:
        return "The store holds no sessions yet; `hierstore new` makes one."
    if store.sessions(**{**filters, "archived": None}, limit=1).items:  # type: ignore[arg-type]
        return "No such sessions but archived ones, which --all shows."
    return "No such sessions."


def _draw(infos: Sequence[SessionInfo], first: int, *, by_creation: bool) -> None:
    from hierstore.cli.table import Column, draw
    from hierstore.cli.terminal import is_piped

    columns = (
        Column("#", "dim", is_right=True),
        Column("ID", "bold", share=2),
        Column("KIND", "magenta", share=2),
        Column("MESSAGES", "cyan", is_right=True),
        Column("CREATED" if by_creation else "UPDATED", "dim"),
        Column("FLAGS", "yellow"),
        Column("LABELS", "green", share=2),
        Column("TITLE", share=1),
    )
    is_read = not is_piped()
    rows = [_row(number, info, by_creation=by_creation, is_read=is_read) for number, info in enumerate(infos, first)]
    if not rows:
        return
    if is_read:
        # A program wants its fields where they always are; a person does not want empty columns.
        kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
        draw([columns[place] for place in kept], [[row[place] for place in kept] for row in rows])
    else:
        draw(columns, rows)


def _row(number: int, info: SessionInfo, *, by_creation: bool, is_read: bool) -> list[str]:
    from hierstore.cli.times import ago, moment

    at = info.created_at if by_creation else info.updated_at
    flags = ["*"] if info.pinned else []
    flags += [name for name in ("archived", "suspended") if getattr(info, name)]
    title = info.title or ""
    if is_read and not title and info.preview:
        title = f"“{info.preview}”"
    return [
        str(number),
        info.id,
        info.kind or "",
        f"{info.message_count:,}" if is_read else str(info.message_count),
        ago(at) if is_read else moment(at),
        " ".join(flags),
        ", ".join(info.labels),
        title,
    ]


def _list_trash(store: SessionStore, limit: int, page: int, *, as_json: bool) -> None:
    from hierstore.cli.memory import Memory

    deleted = sorted(store.trash(), key=lambda item: item.deleted_at, reverse=True)
    Memory(store.root).list([item.id for item in deleted])
    shown = deleted[limit * (page - 1) : limit * page]
    if as_json:
        from hierstore.cli.shapes import of_trashed, print_json

        print_json({"trash": [of_trashed(item) for item in shown]})
        return
    _draw_trash(shown, limit * (page - 1) + 1)
    if not shown:
        complain("No sessions on that page." if deleted else "The trash is empty.")
    elif len(deleted) > limit * page:
        complain(f"There are {len(deleted) - limit * page:,} more: the same with --page {page + 1}.")


def _draw_trash(deleted: Sequence[TrashedSession], first: int) -> None:
    from hierstore.cli.table import Column, draw
    from hierstore.cli.terminal import is_piped
    from hierstore.cli.times import ago, moment, size

    is_read = not is_piped()
    columns = (
        Column("#", "dim", is_right=True),
        Column("ID", "bold", share=1),
        Column("DELETED", "dim"),
        Column("SIZE", "cyan", is_right=True),
    )
    rows = [
        (
            str(number),
            item.id,
            ago(item.deleted_at) if is_read else moment(item.deleted_at),
            size(item.size_bytes) if is_read else str(item.size_bytes),
        )
        for number, item in enumerate(deleted, first)
    ]
    if rows:
        draw(columns, rows)
