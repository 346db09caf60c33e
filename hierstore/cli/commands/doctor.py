"""``hierstore doctor``: what a store relies on, tried."""

from __future__ import annotations

import typer

from hierstore.cli.common import AsJson, Root, complain, guarded
from hierstore.cli.where import find, is_shared


@guarded
def command(root: Root = None, as_json: AsJson = False) -> None:
    r"""Try whether this machine keeps the store's promises.

    Tries locks, events, times and links where the store is or would be, and looks at permissions, room, limits, versions
    and what lies about; leaves nothing behind. Each thing is good, a note (the store copes) or bad. The status is 1 if
    anything is bad. What is in the logs is looked at by `hierstore check`.

    \b
    Example:
      hierstore doctor
    """
    from hierstore import examine
    from hierstore.cli.findings import busy, print_sentences

    where = find(root)
    with busy("Trying"):
        report = examine(where.path, shared=is_shared())
    if as_json:
        from hierstore.cli.shapes import of_verdict, print_json

        print_json({"root": report.root, "ok": report.ok, "verdicts": [of_verdict(one) for one in report.verdicts]})
    else:
        told = [(one.grade, one.name, " ".join(filter(None, (one.found, one.advice)))) for one in report.verdicts]
        print_sentences(told, ("", "WHAT", "FOUND"))
        complain(f"This is about {where.path}, which is meant because {where.reason}.")
    if not report.ok:
        raise typer.Exit(1)
