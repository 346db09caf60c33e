"""``hierstore search``: messages and titles, by their words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, complain, guarded, misused, opened
from hierstore.cli.text import one_line, safe
from hierstore.errors import HierstoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

    from hierstore import Message, Page, SearchHit, SessionStore

_ID_CHARS = 512
_ROLE_CHARS = 40
_TEXT_CHARS = 200
_MARK = "**"
_HIT = "bold underline"


@guarded
def command(
    query: Annotated[list[str], typer.Argument(metavar="QUERY", help="The words, all of them.", show_default=False)],
    root: Root = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", metavar="SESSION", help="Only there.", show_default=False, autocompletion=completion.sessions
        ),
    ] = None,
    subtree: Annotated[bool, typer.Option("--subtree", help="With --session: and in all below it.")] = False,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="Only messages of this role; may be given again."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="How many hits.")] = 20,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="Go on behind a page.", show_default=False)
    ] = None,
    context: Annotated[
        int, typer.Option("--context", "-C", metavar="N", min=0, max=50, help="N messages before and after each.")
    ] = 0,
    operators: Annotated[
        bool, typer.Option("--operators", help='"two words" side by side, refund* for beginnings, -word for without.')
    ] = False,
    reverted: Annotated[bool, typer.Option("--reverted", help="Also what was undone.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also what is in the trash.")] = False,
    mark: Annotated[bool, typer.Option("--mark", help="Put ** around the words that fit.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Find messages and titles by their words.

    Those that fit best come first. The number before a hit names its session in the next command. What is typed is words,
    never syntax, unless --operators says so. Into a pipe: number, session, message, time, snippet and title, between tabs.

    \b
    Example:
      hierstore search refund
    """
    if subtree and session is None:
        raise misused("--subtree goes with --session.")
    from hierstore.cli.memory import Memory
    from hierstore.cli.naming import find

    with opened(root) as store:
        page = store.search(
            " ".join(query),
            limit=limit,
            after=after,
            session=None if session is None else find(store, session),
            subtree=subtree,
            role=role or None,
            operators=operators,
            reverted=reverted,
            deleted=deleted,
            context=context,
        )
        # What is in the trash cannot be named by the next command.
        titles = {hit.session_id: _title(store, hit.session_id) for hit in page.items if not hit.deleted}
        Memory(store.root).list(list(titles))
    _tell(page, titles, _nothing(reverted=reverted, deleted=deleted), as_json=as_json, is_marked=mark)


def _tell(page: Page[SearchHit], titles: dict[str, str], nothing: str, *, as_json: bool, is_marked: bool) -> None:
    if as_json:
        from hierstore.cli.shapes import of_hit, print_json

        print_json({"hits": [of_hit(hit) for hit in page.items], "next": page.next})
    else:
        _print(page, titles, is_marked=is_marked)
    if page.next is not None:
        complain(f"(There are more: the same with --after {page.next})")
    if not page.items:
        complain(nothing)


def _nothing(*, reverted: bool, deleted: bool) -> str:
    more = [
        told
        for told, is_in in (
            ("--reverted finds also what was undone", reverted),
            ("--deleted what is in the trash", deleted),
        )
        if not is_in
    ]
    return f"Nothing fits{'; ' + ', '.join(more) if more else ''}."


def _title(store: SessionStore, session_id: str) -> str:
    """Its title, which tells a person more than an id; empty where there is none, or no session any more."""
    try:
        return store.get(session_id).title or ""
    except HierstoreError:
        return ""


def _print(page: Page[SearchHit], titles: dict[str, str], *, is_marked: bool) -> None:
    from hierstore.cli.terminal import console, is_limited

    numbers = {session_id: str(number) for number, session_id in enumerate(titles, 1)}
    screen = console()
    for hit in page.items:
        number, title = numbers.get(hit.session_id, "-"), titles.get(hit.session_id, "")
        if is_limited(screen):
            _draw(screen, hit, number, title, is_marked=is_marked)
        else:
            screen.file.write("\t".join(_fields(hit, number, title, is_marked=is_marked)) + "\n")
            for sign, message in _around(hit):
                screen.file.write("\t".join(["", sign, *_context_fields(message)]) + "\n")
    screen.file.flush()


def _fields(hit: SearchHit, number: str, title: str, *, is_marked: bool) -> list[str]:
    from hierstore.cli.times import moment

    snippet = _snippet(hit, _MARK if is_marked else "").plain
    return [number, safe(hit.session_id), _where(hit), moment(hit.at), snippet, safe(title)]


def _context_fields(message: Message) -> tuple[str, str, str]:
    from hierstore.cli.lines import beginning, heading
    from hierstore.cli.times import moment

    return heading(message), moment(message.at), beginning(message, _TEXT_CHARS)


def _where(hit: SearchHit) -> str:
    """``#4 user``, or ``title``; and whether it is only there when asked for."""
    place = "title" if hit.seq is None else f"#{hit.seq} {one_line(hit.role or '', _ROLE_CHARS)}"
    states = [name for name, holds in (("undone", hit.reverted), ("in the trash", hit.deleted)) if holds]
    return f"{place} ({', '.join(states)})" if states else place


def _around(hit: SearchHit) -> Sequence[tuple[str, Message]]:
    return [*(("-", message) for message in hit.before), *(("+", message) for message in hit.after)]


def _snippet(hit: SearchHit, mark: str) -> Text:
    """The snippet, harmless, with the words that fit marked: the marks are cut in before anything is escaped."""
    from rich.text import Text

    text, done = Text(), 0
    for first, last in hit.marks:
        text.append(safe(hit.snippet[done:first])).append(mark)
        text.append(safe(hit.snippet[first:last]), style=_HIT).append(mark)
        done = last
    return text.append(safe(hit.snippet[done:]))


def _draw(screen: Console, hit: SearchHit, number: str, title: str, *, is_marked: bool) -> None:
    """A hit in a terminal: where it is, and below it the snippet, whole."""
    from rich.text import Text

    from hierstore.cli.lines import beginning, draw, heading, print_cut, style_of
    from hierstore.cli.times import ago

    place = Text(_where(hit), style=style_of(hit.role or ""))
    name = Text(one_line(hit.session_id, _ID_CHARS), style="bold")
    time = Text(ago(hit.at), style="dim")
    # The id gives way: what follows it is short, and says which message.
    name.truncate(max(12, screen.width - place.cell_len - time.cell_len - 10), overflow="ellipsis")
    about = Text(one_line(title, _TEXT_CHARS) if hit.seq is not None else "", style="dim")
    print_cut(screen, [Text(f"{number:>3}", style="dim"), name, place, time, about])
    for message in hit.before:
        draw(screen, [f"{heading(message)}  {beginning(message, _TEXT_CHARS)}"], prefix="     - ", style="dim")
    _draw_snippet(screen, _snippet(hit, _MARK if is_marked else ""))
    for message in hit.after:
        draw(screen, [f"{heading(message)}  {beginning(message, _TEXT_CHARS)}"], prefix="     + ", style="dim")


def _draw_snippet(screen: Console, snippet: Text) -> None:
    from rich.text import Text

    from hierstore.cli.lines import put, wrapped

    for piece in wrapped(screen, snippet, 5):
        line = Text(" " * 5)
        put(line, piece)
        screen.print(line, soft_wrap=True)
