"""``hierstore export``: sessions as a bundle, as a page of HTML, or as Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, guarded, misused, opened
from hierstore.cli.naming import find

if TYPE_CHECKING:
    from hierstore import SessionStore, TreeNode
    from hierstore.cli.progress import Progress

_ENDINGS = {"bundle": ".json", "lines": ".jsonl", "html": ".html", "markdown": ".md"}
_BY_ENDING = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".jsonl": "lines"}


@guarded
def command(
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SESSION]...", help="Which sessions.", show_default=False, autocompletion=completion.sessions
        ),
    ] = None,
    root: Root = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to; with DIR/ a file for each session.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All sessions of the store.")] = False,
    alone: Annotated[bool, typer.Option("--no-subtree", help="Without what hangs below.")] = False,
    as_bundle: Annotated[bool, typer.Option("--bundle", help="One JSON document for each session named.")] = False,
    as_lines: Annotated[bool, typer.Option("--lines", help="The same as lines of JSON: for what is large.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="A page to be read in a browser.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Text with quoted messages.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Write sessions as a bundle, or as a page of HTML.

    A bundle holds all that the logs say, shares excepted: `hierstore import` makes of it the same sessions again. A page holds
    what is to be read, in one file that loads nothing and runs nothing; what a session inherits is shown once. Not on it:
    shares, routes, usage, ids in other systems, and metadata whose key is `private` or begins with an underscore.

    Without an option the ending of FILE decides: .html, .md, .jsonl, else a bundle. FILE appears when it is whole. --json
    says what was written, for scripts; it needs -o.

    \b
    Example:
      hierstore export support-42 --html -o refund.html
    """
    flags = {"bundle": as_bundle, "lines": as_lines, "html": as_html, "markdown": as_markdown}
    form = _form([name for name, wanted in flags.items() if wanted], output)
    if everything == bool(sessions):
        raise misused("Name sessions, or say --all." if not sessions else "--all leaves none to be named.")
    if everything and alone:
        raise misused("--all takes in everything, so --no-subtree does not go with it.")
    if as_json and output is None:
        raise misused("--json says which files were written, so it needs -o.")
    with opened(root) as store:
        nodes = _nodes(store, None if everything else sessions, alone=alone)
        if output is None:
            _print(_pieces(store, nodes, form, alone=alone), is_json=form in ("bundle", "lines"))
        else:
            _write(store, nodes, form, output, alone=alone, force=force, as_json=as_json)


def _form(wanted: list[str], output: str | None) -> str:
    if len(wanted) > 1:
        raise misused(f"--{wanted[0]} and --{wanted[1]} do not go together.")
    if wanted:
        return wanted[0]
    return _BY_ENDING.get(os.path.splitext(output or "")[1].lower(), "bundle")


def _nodes(store: SessionStore, words: list[str] | None, *, alone: bool) -> list[TreeNode]:
    """What was asked for, each session once."""
    from dataclasses import replace

    if words is None:
        return list(store.tree())
    ids = dict.fromkeys(find(store, word).id for word in words)
    nodes = [store.tree(session_id) for session_id in ids]
    return [replace(node, children=()) for node in nodes] if alone else nodes


def _print(pieces: Iterable[bytes], *, is_json: bool) -> None:
    import sys

    from hierstore.cli.outputs import print_pieces
    from hierstore.cli.shapes import harmless

    if is_json and sys.stdout.isatty():
        pieces = (f"{harmless(piece.decode().rstrip())}\n".encode() for piece in pieces)
    print_pieces(pieces)


def _write(
    store: SessionStore,
    nodes: Sequence[TreeNode],
    form: str,
    output: str,
    *,
    alone: bool,
    force: bool,
    as_json: bool,
) -> None:
    from hierstore.cli.outputs import check_target, write_file
    from hierstore.cli.progress import progress
    from hierstore.cli.shapes import print_json
    from hierstore.cli.text import count, safe
    from hierstore.cli.times import size

    targets = _targets(nodes, form, output)
    for path in targets:
        check_target(path, force=force)
    written = {}
    with progress() as bar:
        for path, shown in targets.items():
            written[path] = write_file(path, _pieces(store, shown, form, alone=alone, bar=bar), force=force)
    if as_json:
        print_json({"files": [{"path": path, "format": form, "bytes": number} for path, number in written.items()]})
        return
    where = safe(output) if len(written) == 1 else f"{count(len(written), 'file')} into {safe(output)}"
    typer.echo(f"Wrote {where} ({size(sum(written.values()))}).", err=True)


def _targets(nodes: Sequence[TreeNode], form: str, output: str) -> dict[str, Sequence[TreeNode]]:
    """Which file gets what: one gets everything, or in a folder each session has one."""
    if not (output.endswith(("/", os.sep)) or os.path.isdir(output)):
        return {output: nodes}
    from hierstore.cli.text import Refused
    from hierstore.naming import file_name

    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise Refused(f"{output} cannot be made: {error.strerror}.") from None
    return {os.path.join(output, file_name(node.id) + _ENDINGS[form]): [node] for node in nodes}


def _pieces(
    store: SessionStore, nodes: Sequence[TreeNode], form: str, *, alone: bool, bar: Progress | None = None
) -> Iterator[bytes]:
    """The export, piece by piece."""
    if form == "bundle":
        from hierstore.cli.shapes import dumps

        for node in nodes:
            yield dumps(store.export(node.id, subtree=not alone)).encode() + b"\n"
    elif form == "lines":
        for node in nodes:
            yield from store.export_lines(node.id, subtree=not alone)
    else:
        for text in _readable(store, nodes, form, bar):
            yield text.encode()


def _readable(store: SessionStore, nodes: Sequence[TreeNode], form: str, bar: Progress | None) -> Iterator[str]:
    from hierstore.cli.progress import Progress

    bar = Progress() if bar is None else bar
    bar.begin("Writing", sum(map(_messages, nodes)))
    if form == "html":
        from time import time

        from hierstore.cli.html.page import page

        return page(store, nodes, time(), bar.advance)
    from hierstore.cli.quotation import document

    return document(store, nodes, bar.advance)


def _messages(root: TreeNode) -> int:
    """How many messages a tree holds; without recursion, as it may be deeper than Python's stack."""
    total, stack = 0, [root]
    while stack:
        node = stack.pop()
        total += node.message_count
        stack.extend(node.children)
    return total
