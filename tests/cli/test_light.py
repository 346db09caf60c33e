"""Parameters without pydantic take what they took with it, and complain as they did."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from hierstore.cli.app import COMMANDS
from hierstore.cli.light import lightened
from hierstore.cli.single import OneCommand
from tests.cli.running import run


class Colour(Enum):
    red = "red"
    blue = "blue"


def _command(
    texts: Annotated[list[str], typer.Argument()],
    text: Annotated[str | None, typer.Option("--text")] = None,
    several: Annotated[list[str] | None, typer.Option("--several")] = None,
    number: Annotated[int, typer.Option("--number", min=1, max=100)] = 50,
    free: Annotated[int | None, typer.Option("--free")] = None,
    share: Annotated[float, typer.Option("--share", min=0.0)] = 0.5,
    colour: Annotated[Colour, typer.Option("--colour")] = Colour.red,
    flag: Annotated[bool, typer.Option("--flag")] = False,
    switch: Annotated[bool | None, typer.Option("--switch/--no-switch")] = None,
) -> None:
    pass


def _made(cls: Any) -> Any:
    program = typer.Typer(add_completion=False)
    program.command(cls=cls)(_command)
    return get_command(program)


LIGHT, FULL = _made(OneCommand), _made(typer.core.TyperCommand)


def taken(command: Any, arguments: list[str]) -> dict[str, Any] | str:
    """What a command line gives the command, or the complaint."""
    try:
        with command.make_context("command", list(arguments)) as ctx:
            return {name: (value, type(value)) for name, value in ctx.params.items()}
    except Exception as error:  # noqa: BLE001  # a usage error, whose class is the library's own
        return f"{type(error).__name__}: {error}"


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", " 5 ", "+5", "1_0", "5.0", "5.", ".5", "007", "٣", "1e2"]),
)
_OPTIONS = st.one_of(
    st.tuples(st.sampled_from(["--text", "--several"]), _TEXTS),
    st.tuples(st.sampled_from(["--number", "--free", "--share"]), st.one_of(_NUMBERS, _TEXTS)),
    st.tuples(st.just("--colour"), st.sampled_from(["red", "blue", "Red", "green", ""])),
    st.tuples(st.sampled_from(["--flag", "--switch", "--no-switch"])),
)


@given(st.lists(_OPTIONS, max_size=4), st.lists(_TEXTS, max_size=2))
def test_whatever_is_typed_is_taken_or_refused_as_by_typer_itself(
    options: list[tuple[str, ...]], texts: list[str]
) -> None:
    line = [f"{option[0]}={option[1]}" if len(option) == 2 else option[0] for option in options] + ["--", *texts]
    assert taken(LIGHT, line) == taken(FULL, line)


def test_such_a_test_can_fail() -> None:
    assert taken(LIGHT, ["a", "--number", "5"]) != taken(FULL, ["a", "--number", "6"])
    assert taken(LIGHT, ["a", "--number", "0"]) == taken(FULL, ["a", "--number", "0"])
    assert str(taken(LIGHT, ["a", "--number", "0"])).startswith("BadParameter")


def test_a_parameter_of_another_typer_is_left_as_it_is() -> None:
    class Other:
        pass

    other = Other()
    assert lightened([other]) == [other]
    assert not vars(other)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_begins_with_how_it_is_used(name: str) -> None:
    first = run(name, "--help", COLUMNS="200").stdout.splitlines()[0]
    assert first.startswith(f"Usage: hierstore {name} [OPTIONS]")
    assert not set("{}<>") & set(first), "arguments are named, without types and braces"
