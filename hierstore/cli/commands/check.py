"""``hierstore check``: every line of every log verified."""

from __future__ import annotations

import typer

from hierstore.cli.common import AsJson, Root, complain, guarded, opened
from hierstore.cli.text import count


@guarded
def command(root: Root = None, as_json: AsJson = False) -> None:
    r"""Find what is wrong with a store.

    Verifies every line of every log and every tie between sessions; changes nothing, and others may go on writing. Prints
    problems (damage, or a promise broken) and notes (what a crash may leave, and what harms nothing). The status is 1 if
    there are problems.

    \b
    Example:
      hierstore check
    """
    from hierstore.cli.findings import busy, print_sentences, rows

    with opened(root) as store, busy("Verifying every line"):
        report = store.check()
        folder = str(store.root)
    if as_json:
        from hierstore.cli.shapes import of_check, print_json

        print_json(of_check(report))
    else:
        found = [*rows("problem", report.problems, folder), *rows("note", report.notes, folder)]
        if found:
            print_sentences(found, ("", "KIND", "SESSION OR FILE", "FOUND"))
        verified = f"{count(report.sessions, 'session')} and {count(report.messages, 'message')} verified"
        complain(f"{verified}: {_verdict(len(report.problems), len(report.notes))}")
    if not report.ok:
        raise typer.Exit(1)


def _verdict(problems: int, notes: int) -> str:
    if problems:
        return f"{count(problems, 'problem')}; `hierstore repair --dry-run` shows what can be mended."
    if notes:
        return f"no problems, {count(notes, 'note')}; `hierstore repair` clears up what can be."
    return "no problems."
