"""What each of the demo's four processes does, and what it was told was stored."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from hierstore import Session, SessionStore
from hierstore.cli import story
from hierstore.cli.workers import give_up, meet

PROCESSES = 1 + len(story.DELEGATES)


@dataclass(slots=True)
class Account:
    """What one process was told: the ground on which the demo is verified.

    Attributes:
        began, ended: Unix seconds.
        stored: by session, the ids of the messages acknowledged, in order.
        undone: by session, the revision before a revert, and the ids that the revert took out of the history.
        branch: the fork's id and the message up to which it has its parent's history.
    """

    began: float = 0.0
    ended: float = 0.0
    stored: dict[str, list[str]] = field(default_factory=dict)
    undone: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    branch: tuple[str, str] | None = None

    def say(self, session: Session, lines: Iterable[story.Line]) -> list[str]:
        """Append the lines one by one, and note what was acknowledged."""
        ids = [session.append(line.role, line.content, **line.fields).id for line in lines]
        self.stored.setdefault(session.id, []).extend(ids)
        return ids


def play(root: str, lead_id: str, part: int) -> Account:
    """A job: play the lead (part 0) or one of its delegates, beside the processes that play the others."""
    account = Account(began=time.time())
    try:
        with SessionStore(root) as store:
            lead = store.get(lead_id)
            if part == 0:
                _lead(account, lead)
            else:
                _delegate(account, lead, story.DELEGATES[part - 1])
    except BaseException:
        give_up()
        raise
    account.ended = time.time()
    return account


def _lead(account: Account, lead: Session) -> None:
    account.say(lead, story.WAITING)
    meet()
    # At this moment the delegates append their reports to the same session.
    lead.set_title(story.TITLE)
    meet()
    account.say(lead, [story.VERDICT])
    plan = lead.messages[1]
    branch = lead.fork(f"{lead.id}/branch", at=plan.id, title=story.BRANCH_TITLE)
    account.branch = (branch.id, plan.id)
    account.say(branch, story.BRANCH)


def _delegate(account: Account, lead: Session, part: story.Delegate) -> None:
    own = lead.spawn(f"{lead.id}/{part.name}", title=part.title, kind="delegate")
    account.say(own, part.lines)
    if part.name == "repair":
        _repair(account, own)
    elif part.name == "log":
        helper = own.spawn(f"{own.id}/{story.HELPER.name}", title=story.HELPER.title, kind="delegate")
        account.say(helper, story.HELPER.lines)
    meet()
    account.say(lead, [story.Line("tool", part.report, {"tool_call_id": f"call_{part.name}"})])
    meet()


def _repair(account: Account, own: Session) -> None:
    """An attempt that fails, the way back to the snapshot before it, and another attempt."""
    before = own.snapshot("before the attempt")
    undone = account.say(own, story.FAILED_ATTEMPT)
    account.undone[own.id] = (own.revision, undone)
    own.revert(before)
    account.say(own, story.SECOND_ATTEMPT)
