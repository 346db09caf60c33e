"""The agent run that ``hierstore demo`` plays: what is said, and by whom. Words only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One message."""

    role: str
    content: str | None
    fields: dict[str, Any] = field(default_factory=dict)


def _call(call_id: str, name: str, arguments: str) -> Line:
    function = {"name": name, "arguments": arguments}
    return Line("assistant", None, {"tool_calls": [{"id": call_id, "type": "function", "function": function}]})


def _result(call_id: str, content: str) -> Line:
    return Line("tool", content, {"tool_call_id": call_id})


@dataclass(frozen=True, slots=True)
class Delegate:
    """A part of the work that a process of its own does.

    Attributes:
        name: the last part of its session's id.
        title: its session's title.
        lines: its messages.
        report: what it tells the lead, as the answer to the call that made it.
    """

    name: str
    title: str
    lines: Sequence[Line]
    report: str


TITLE = "Repair the nightly build"

TASK = Line("user", "The nightly build has failed since Tuesday. Find out why, and repair it.")

PLAN = Line(
    "assistant",
    "Three of us look at it at once: the log, the changes since Monday, and a repair.",
    {
        "tool_calls": [
            {
                "id": f"call_{name}",
                "type": "function",
                "function": {"name": "delegate", "arguments": f'{{"to": "{name}"}}'},
            }
            for name in ("log", "changes", "repair")
        ]
    },
)

WAITING = (
    Line("assistant", "The log is being read."),
    Line("assistant", "The changes are being compared."),
    Line("assistant", "A repair is being tried."),
)

VERDICT = Line("assistant", "A date library dropped a name we used. The code now uses the new name; the build passes.")

DELEGATES = (
    Delegate(
        "log",
        "Read the build log",
        (
            Line("user", "Find the first error in the log of Tuesday's build."),
            _call("call_grep", "grep", '{"pattern": "ERROR", "file": "build.log"}'),
            _result("call_grep", "2041: ERROR ImportError: cannot import name 'utcnow' from 'dates'"),
            Line("assistant", "The first error is a name that the library `dates` no longer has."),
        ),
        "ImportError: 'dates' has no 'utcnow' any more.",
    ),
    Delegate(
        "changes",
        "Compare the changes",
        (
            Line("user", "What changed between Monday's build and Tuesday's?"),
            _call("call_diff", "diff_lock_files", '{"old": "monday", "new": "tuesday"}'),
            _result("call_diff", "dates 2.9 -> 3.0"),
            Line("assistant", "Nothing in our code; `dates` went from 2.9 to 3.0."),
        ),
        "Only the library `dates` changed, from 2.9 to 3.0.",
    ),
    Delegate(
        "repair",
        "Try a repair",
        (
            Line("user", "Try a repair, and run the build."),
            Line("assistant", "I note where I am before I touch anything."),
        ),
        "The build passes with `dates.now(UTC)`.",
    ),
)

FAILED_ATTEMPT = (
    Line("assistant", "I catch the ImportError and go on without dates."),
    _call("call_build_1", "build", "{}"),
    _result("call_build_1", "FAILED: 114 tests need dates"),
)

SECOND_ATTEMPT = (
    Line("assistant", "That was wrong; from the note on: I use the library's new name."),
    _call("call_build_2", "build", "{}"),
    _result("call_build_2", "PASSED"),
)

HELPER = Delegate(
    "older-logs",
    "Was it in older logs?",
    (
        Line("user", "Does the error occur before Tuesday?"),
        Line("assistant", "No: Tuesday's log is the first."),
    ),
    "",
)

BRANCH_TITLE = "What if we stay with 2.9?"

BRANCH = (
    Line("user", "And if we stayed with dates 2.9?"),
    Line("assistant", "It works today, and 2.9 gets no repairs after March. I would not."),
)
