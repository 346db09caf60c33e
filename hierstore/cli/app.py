"""The commands joined into one program. A command's module is imported when the command is asked for, and not before."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import typer
from typer.core import TyperGroup
from typer.main import get_command

from hierstore.cli.common import Root
from hierstore.cli.light import lightened
from hierstore.cli.single import OneCommand
from hierstore.cli.text import safe
from hierstore.errors import quoted

T = TypeVar("T")


class Command(NamedTuple):
    """A command in the table: what the help says of it, so that it need not be imported to be listed."""

    name: str
    module: str
    summary: str


SECTIONS: dict[str, tuple[Command, ...]] = {
    "Where": (Command("where", "where", "Say which store is used, and why."),),
    "Look": (
        Command("ls", "ls", "List sessions."),
        Command("tree", "tree", "Draw the hierarchy."),
        Command("show", "show", "Print a session's facts and messages."),
        Command("log", "log", "Print the history of a session's changes, as a graph."),
        Command("diff", "diff", "Compare two sessions, or two states of one."),
        Command("tail", "tail", "Print the last messages, and with -f those that come."),
        Command("search", "search", "Find messages and titles by their words."),
        Command("stats", "stats", "Count sessions, messages, tokens and cost."),
        Command("du", "du", "Say what takes how much room."),
        Command("watch", "watch", "Print what changes, as it changes."),
    ),
    "Change": (
        Command("new", "new", "Make a session, and print its id."),
        Command("append", "append", "Add a message to a session."),
        Command("title", "title", "Print or set a title."),
        Command("label", "label", "Print, add or remove labels."),
        Command("fork", "fork", "Make a child that starts with a session's history."),
        Command("snapshot", "snapshot", "Give a session's present state a name."),
        Command("revert", "revert", "Go back to an earlier state."),
        Command("undo", "undo", "Undo the last revert."),
        Command("mv", "mv", "Hang a session below another, or make it a root."),
        Command("archive", "archive", "Take a session out of the listings, or put it back."),
        Command("pin", "pin", "Keep a session from being pruned, or no longer."),
        Command("rm", "rm", "Move sessions to the trash."),
        Command("restore", "restore", "Bring a session back from the trash."),
        Command("share", "share", "Share a session, and print the token; list its shares."),
        Command("unshare", "unshare", "Revoke a session's shares."),
        Command("route", "route", "Print or change where a route key leads."),
        Command("prune", "prune", "Move to the trash what is no longer needed."),
        Command("compact", "compact", "Drop from the logs what was undone."),
        Command("purge", "purge", "Remove what is in the trash for good."),
    ),
    "Move": (
        Command("export", "export", "Write sessions as a bundle, or as a page of HTML."),
        Command("import", "import_", "Take in conversations, bundles and other programs' folders."),
    ),
    "Care": (
        Command("check", "check", "Find what is wrong with a store."),
        Command("repair", "repair", "Mend what can be mended."),
        Command("reindex", "reindex", "Make the index anew."),
        Command("doctor", "doctor", "Try whether this machine keeps the store's promises."),
        Command("demo", "demo", "Play a small agent run with four processes, and verify what comes out."),
    ),
}
"""The commands as the help groups them."""

COMMANDS = {command.name: command for section in SECTIONS.values() for command in section}

_EPILOG = (
    "SESSION is an id, its unique beginning, a route key, a number from the last listing, or @last. The store is"
    " --root DIR, else HIERSTORE_ROOT, else the nearest .hierstore/ up the tree, else the user's data folder."
)
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_ROOT = "--root"


class Program(TyperGroup):
    """The group whose commands are imported when they are asked for."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, made light."""
        return lightened(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # as the base declares it
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # as the base declares it
        """A command, imported; None if there is none of that name."""
        command = COMMANDS.get(cmd_name)
        if command is None:
            return None
        module = importlib.import_module(f"hierstore.cli.commands.{command.module}")
        single = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=_SETTINGS
        )
        single.command(command.name, cls=OneCommand, help=_help_of(module.command))(module.command)
        return get_command(single)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the base does, but that an unknown name is answered with those that it may have been meant for."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(_unknown(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # as the base declares it
        """The table of the help, from the summaries."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(command.name, command.summary) for command in section])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let ``--root DIR`` stand before the command too: it goes behind it, where every command takes it."""
        front, rest = take_root(args)
        if front and rest and not rest[0].startswith("-"):
            args = [rest[0], *front, *rest[1:]]
        return super().parse_args(ctx, args)


def take_root(args: list[str]) -> tuple[list[str], list[str]]:
    """The ``--root`` options at the beginning, and the rest."""
    end = 0
    while end < len(args) and (args[end].startswith(f"{_ROOT}=") or args[end : end + 1] == [_ROOT]):
        end += 2 if args[end] == _ROOT else 1
    return args[:end], args[end:]


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    begin = [known for known in COMMANDS if len(name) > 1 and known.startswith(name)]
    near = list(dict.fromkeys([*begin, *get_close_matches(name.lower(), COMMANDS)]))
    meant = f" Did you mean {' or '.join(near)}?" if near else " 'hierstore --help' lists them."
    return f"There is no command {quoted(name)}.{meant}"


def _help_of(command: Callable[..., None]) -> str:
    """A command's docstring, with the character that it writes as an escape: the paragraph behind it keeps its lines."""
    return inspect.cleandoc(command.__doc__ or "").replace("\\b", "\b")


# Plain help and plain errors: typer's framed ones cost another 100 ms at each start. Its completion is not used: in zsh
# it evaluates what it prints, ids and titles among it (see completion.py).
app = typer.Typer(
    cls=Program,
    help="Sessions for AI agents: a hierarchy of conversations in plain files that many processes read and write.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from hierstore import __version__

        typer.echo(f"hierstore {__version__}")
        raise typer.Exit


def _print_completion(shell: str | None) -> None:
    if shell is not None:
        from hierstore.cli.shells import script

        typer.echo(_checked(shell, script))
        raise typer.Exit


def _install_completion(shell: str | None) -> None:
    if shell is not None:
        from hierstore.cli.shells import install

        for line in _checked(shell, install):
            typer.echo(line, err=True)
        raise typer.Exit


def _checked(shell: str, make: Callable[[str], T]) -> T:
    """What is made for a shell.

    Raises:
        BadParameter: it is none that is known.
        Exit: it could not be written; said on stderr.
    """
    try:
        return make(shell)
    except KeyError:
        raise typer.BadParameter("the shells that are known are bash, zsh and fish.") from None
    except OSError as error:
        typer.echo(f"{safe(str(error.filename))} could not be written: {error.strerror}.", err=True)
        raise typer.Exit(1) from None


@app.callback()
def _program(
    root: Root = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
    install_completion: Annotated[
        str | None,
        typer.Option(
            "--install-completion",
            metavar="SHELL",
            callback=_install_completion,
            is_eager=True,
            help="Let bash, zsh or fish complete commands, sessions and labels.",
            show_default=False,
        ),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            "--show-completion",
            metavar="SHELL",
            callback=_print_completion,
            is_eager=True,
            help="Print what --install-completion would write.",
            show_default=False,
        ),
    ] = None,
) -> None:
    pass
