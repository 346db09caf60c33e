"""``hierstore where``: which store is meant, and why."""

from __future__ import annotations

import typer

from hierstore.cli.common import AsJson, Root, guarded
from hierstore.cli.text import safe
from hierstore.cli.where import find


@guarded
def command(root: Root = None, as_json: AsJson = False) -> None:
    r"""Say which store is used, and why.

    In this order: --root, the environment's HIERSTORE_ROOT, the nearest folder .hierstore of this folder or one above
    it, the user's data folder. Whether there is a store plays no part in it. Prints the folder; the reason stands on
    stderr.

    \b
    Example:
      hierstore where
    """
    where = find(root)
    if as_json:
        from hierstore.cli.shapes import print_json

        print_json({"root": where.path, "why": where.why, "reason": where.reason, "exists": where.exists})
        return
    typer.echo(safe(where.path))
    typer.echo(f"({safe(where.reason)}{'' if where.exists else '; there is no store yet'})", err=True)
