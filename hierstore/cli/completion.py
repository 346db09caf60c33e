r"""What the shell is offered for a word that is not finished. Fails silently: a key press must not print an error.

The store is only read, and an answer that takes too long is not given: the next key press finds more of it done. Typer's
own completion is not used: what it prints for zsh is evaluated there, and an id of ``\$(…)`` would be run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hierstore.cli.text import is_harmless, one_line

if TYPE_CHECKING:
    from hierstore import SessionStore

ASKED = "_HIERSTORE_COMPLETE"
"""The environment's name for the shell that asks."""
_LINE, _BREAKS = "_HIERSTORE_LINE", "_HIERSTORE_BREAKS"
_MOST = 200
_TIME_S = 0.6
_TOLD_CHARS = 80
_FILES = ("FILE", "PATH")
_FOLDERS = ("DIR", "FOLDER")


class _TooLong(BaseException):
    """It takes too long; no Exception, so that nothing on the way takes it for a file that cannot be read."""


class Answer(NamedTuple):
    """What may stand there.

    Attributes:
        kind: ``"words"``, ``"files"`` or ``"folders"``; the shell knows the latter.
        words: each with what to say of it.
    """

    kind: str
    words: list[tuple[str, str]]


# What parameters offer


def sessions(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
    """Ids that begin so, the latest changed first, each with its title; ``@last`` too."""
    offered = [("@last", "the session used last")] if incomplete and "@last".startswith(incomplete) else []
    try:
        with _in_time(), _store(ctx) as store:
            from hierstore.cli.naming import ids_beginning

            found = [(info.id, info.title or "") for info in ids_beginning(store, incomplete, _MOST)]
    except _TooLong:
        found = [(name, "") for name in _listed(ctx) if name.startswith(incomplete)][:_MOST]
    except Exception:  # noqa: BLE001  # whatever it is: a key press is not the place to tell
        found = []
    return offered + found


def _listed(ctx: Any) -> list[str]:
    """The ids of the last listing, which are there at once."""
    from pathlib import Path

    from hierstore.cli.memory import Memory
    from hierstore.cli.where import find

    return Memory(Path(find(ctx.params.get("root")).path)).listed


def labels(ctx: Any, incomplete: str) -> list[str]:
    """Labels that are in use and begin so."""
    try:
        with _in_time(), _store(ctx) as store:
            from hierstore.cli.naming import all_infos

            used = {label for info in all_infos(store) for label in info.labels}
    except (Exception, _TooLong):  # noqa: BLE001  # as above
        return []
    return sorted(label for label in used if label.startswith(incomplete))


def _store(ctx: Any) -> SessionStore:
    from hierstore import SessionStore
    from hierstore.cli.where import find, is_shared

    where = find(ctx.params.get("root"))
    if not where.exists:
        raise FileNotFoundError(where.path)
    # Its index is then the user's own, and what a crash left in the store stays for a command that is meant to write.
    return SessionStore(where.path, read_only=True, shared=is_shared())


@contextmanager
def _in_time() -> Iterator[None]:
    """Give up after a while. What was indexed until then stays, so that the next one gets further."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def give_up(_number: int, _frame: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _TIME_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# What a command line offers


def offers(words: list[str]) -> Answer:
    """What may stand for the last of some words, which is not finished; before them stands the command itself."""
    from typer.main import get_command

    from hierstore.cli.app import COMMANDS, app, take_root

    *before, current = words
    front, rest = take_root(before)
    program: Any = get_command(app)
    if not rest:
        if front[-1:] == ["--root"]:
            return Answer("folders", [])
        if current.startswith("-"):
            return _options(program, current)
        return _beginning(current, [(command.name, command.summary) for command in COMMANDS.values()])
    command = program.get_command(None, rest[0]) if rest[0] in COMMANDS else None
    if command is None:
        return Answer("words", [])
    return _in_command(command, [*front, *rest[1:]], current)


def _in_command(command: Any, before: list[str], current: str) -> Answer:
    with command.make_context(command.name, list(before), resilient_parsing=True) as ctx:
        options = [param for param in command.params if param.param_type_name == "option"]
        if "--" not in before:
            name, equals, value = current.partition("=")
            if equals and (found := _maybe_taking(options, name)) is not None:
                kind, offered = _values(ctx, found, value)
                return Answer(kind, [(f"{name}={word}", told) for word, told in offered])
            if before and (found := _maybe_taking(options, before[-1])) is not None:
                return _values(ctx, found, current)
            if current.startswith("-"):
                return _options(command, current)
        for param in command.params:
            if param.param_type_name == "argument" and _takes_more(ctx, param):
                return _values(ctx, param, current)
    return Answer("words", [])


def _maybe_taking(options: list[Any], name: str) -> Any:
    """The option of that name, if it takes a value."""
    return next((option for option in options if name in option.opts and not (option.is_flag or option.count)), None)


def _takes_more(ctx: Any, param: Any) -> bool:
    source = ctx.get_parameter_source(param.name)
    return param.nargs == -1 or source is None or source.name != "COMMANDLINE"


def _values(ctx: Any, param: Any, current: str) -> Answer:
    """What a parameter may be."""
    offered = [(item.value, item.help or "") for item in param.shell_complete(ctx, current) if item.type == "plain"]
    metavar = (param.metavar or param.name or "").upper()
    if not offered:
        for kind, words in (("files", _FILES), ("folders", _FOLDERS)):
            if any(word in metavar for word in words):
                return Answer(kind, [])
    return _beginning(current, offered)


def _options(command: Any, current: str) -> Answer:
    ctx = command.make_context(command.name, [], resilient_parsing=True)
    params = [param for param in command.get_params(ctx) if param.param_type_name == "option" and not param.hidden]
    return _beginning(
        current, [(name, param.help or "") for param in params for name in param.opts if name[:2] == "--"]
    )


def _beginning(current: str, words: list[tuple[str, str]]) -> Answer:
    return Answer("words", [(word, told) for word, told in words if word.startswith(current)])


# What the shell is told


def answer() -> str:
    """The answer to the shell that asks by the environment: its kind, and a line for each word. Empty on any error."""
    import sys

    shell = os.environ.get(ASKED, "")
    try:
        if shell == "bash":
            return _for_bash(os.environ.get(_LINE, ""), os.environ.get(_BREAKS, ""))
        return _lines(offers(sys.argv[1:] or [""]))
    except (Exception, SystemExit):  # noqa: BLE001  # see above
        return ""


def _lines(found: Answer) -> str:
    """With what is said of each word behind a tab; no shell can be told of a word with a line break."""
    lines = [found.kind]
    for word, told in found.words:
        if all(map(is_harmless, word)):
            text = one_line(told, _TOLD_CHARS)
            lines.append(f"{word}\t{text}" if text else word)
    return "".join(f"{line}\n" for line in lines)


def _for_bash(line: str, breaks: str) -> str:
    """The same for bash, which takes a word as it would be typed, from the last place where it breaks words."""
    from hierstore.cli.bashline import parse, typed

    words, last = parse(line, breaks)
    found = offers([*words[1:], last.text] if words else [""])
    pieces = (typed(word, last) for word, _ in found.words if all(map(is_harmless, word)))
    return "".join(f"{piece}\n" for piece in (found.kind, *filter(None, pieces)))
