"""The commands joined into one program."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli import demo, import_, show, tree

# Plain help and plain errors: typer's framed ones cost another 100 ms at each start.
app = typer.Typer(
    help="Sessions for AI agents: a hierarchy of conversations in plain files that many processes read and write.",
    epilog="The store's folder is --root DIR, or else what the environment's HIERSTORE_ROOT says.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from hierstore import __version__

        typer.echo(f"hierstore {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.command)
app.command("import")(import_.command)
app.command("tree")(tree.command)
app.command("show")(show.command)
