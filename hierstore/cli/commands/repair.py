"""``hierstore repair``: what can be mended is, after a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, Root, Yes, complain, guarded, opened
from hierstore.cli.text import count

if TYPE_CHECKING:
    from hierstore import RepairReport


@guarded
def command(
    root: Root = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    r"""Mend what can be mended.

    Shows what it would do, and asks. A damaged log is cut to its sound beginning; no byte is lost: what is cut away goes
    to the store's folder quarantine/. Others may go on writing. The status is 1 if problems are left.

    \b
    Example:
      hierstore repair --dry-run
    """
    from hierstore.cli.asking import agree
    from hierstore.cli.findings import busy

    with opened(root) as store:
        folder = str(store.root)
        with busy("Looking for what can be mended"):
            report = store.repair(dry_run=True)
        if report.done and not dry_run:
            if not (as_json or yes):
                _show(report, folder)
            agree(f"Do this to {folder}", yes=yes)
            with busy("Mending"):
                report = store.repair()
    if as_json:
        from hierstore.cli.shapes import of_repair, print_json

        print_json(of_repair(report))
    else:
        _show(report, folder)
        _tell(report)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: RepairReport, folder: str) -> None:
    from hierstore.cli.findings import print_sentences, rows

    done = "to mend" if report.dry_run else "mended"
    found = [*rows(done, report.done, folder), *rows("left", report.left, folder)]
    if found:
        print_sentences(found, ("", "KIND", "SESSION OR FILE", "WHAT"))


def _tell(report: RepairReport) -> None:
    done, left = len(report.done), len(report.left)
    words = [f"{count(done, 'thing')} {'can be' if report.dry_run else 'was' if done == 1 else 'were'} mended"]
    if left:
        words.append(f"{left:,} cannot be, and the sentences say why")
    complain(f"{', '.join(words)}." if done or left else "There is nothing to mend.")
