"""``hierstore reindex``: the index made anew."""

from __future__ import annotations

from hierstore.cli.common import AsJson, Root, complain, guarded, opened
from hierstore.cli.text import count


@guarded
def command(root: Root = None, as_json: AsJson = False) -> None:
    r"""Make the index anew.

    Listings and search use an index, which is made from the logs and follows them. It needs no care; this is for one that
    is taken to be wrong, and for making a large one before it is needed. Others may go on meanwhile.

    \b
    Example:
      hierstore reindex
    """
    from hierstore.cli.findings import busy

    with opened(root) as store, busy("Reading every log"):
        sessions = store.reindex()
    if as_json:
        from hierstore.cli.shapes import print_json

        print_json({"sessions": sessions})
    else:
        complain(f"The index is new, and knows {count(sessions, 'session')}.")
