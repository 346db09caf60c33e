"""``hierstore undo``: the last revert is undone."""

from __future__ import annotations

from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, opened
from hierstore.cli.text import count, one_line


@guarded
def command(session: SessionName, root: Root = None, as_json: AsJson = False) -> None:
    r"""Undo the last revert.

    The history is again what it was before the last revert that is not undone yet. Messages that came after the revert
    leave the history; it is said how to go back to them.

    \b
    Example:
      hierstore revert support-42 answered
      hierstore undo support-42
    """
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = find(store, session)
        revision, before = found.revision, found.messages
        found.undo_revert()
        after = found.messages
        if as_json:
            from hierstore.cli.shapes import of_session, print_json

            print_json(of_session(found))
    kept = {message.id for message in after}
    lost = sum(message.id not in kept for message in before)
    since = f"; {count(lost, 'message')} left it, and `hierstore revert SESSION r{revision}` goes back" if lost else ""
    complain(f"{one_line(found.id, 60)} has {count(len(after), 'message')} now{since}.")
