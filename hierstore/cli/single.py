"""One command of the program: its parameters cost little, and its help reads the same with every version of typer."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from hierstore.cli.light import lightened


class OneCommand(TyperCommand):
    """A command whose arguments are shown by the names that it gives them, and nothing beside."""

    def get_params(self, ctx: Any) -> list[Any]:
        """They, made light."""
        return lightened(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``[OPTIONS]``, then the arguments: ``SESSION``, ``[SESSION]``, ``SESSION...``."""
        return ["[OPTIONS]", *map(_usage, self._arguments(ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The help's tables."""
        arguments = [(_name(param), param.help or "") for param in self._arguments(ctx)]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        records = [record for param in options if (record := param.get_help_record(ctx)) is not None]
        with formatter.section("Options"):
            formatter.write_dl(records)

    def _arguments(self, ctx: Any) -> list[Any]:
        return [param for param in self.get_params(ctx) if param.param_type_name == "argument"]


def _name(param: Any) -> str:
    return str(param.metavar or param.name.upper()).strip("[].")


def _usage(param: Any) -> str:
    name = f"{_name(param)}{'...' if param.nargs == -1 else ''}"
    return name if param.required else f"[{name}]"
