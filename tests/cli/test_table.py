"""Tables, text, times and JSON: what people and programs read keeps its columns whatever is in it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from hierstore import SessionStore
from hierstore.cli import times
from hierstore.cli.shapes import dumps
from hierstore.cli.table import Column, draw, fitted
from hierstore.cli.text import count, one_line, safe
from tests.cli.screen import shown

ODD = [
    "漢字の題名",
    "عنوان بالعربية",
    "כותרת",
    "👩‍👩‍👧‍👦 family",
    "e\u0301" * 40,
    "a\tb\nc",
    "\x1b[31mred\x1b[0m",
    "",
    "x" * 300,
    "[bold]no[/bold]",
]
COLUMNS = (
    Column("#", is_right=True),
    Column("ID", share=1),
    Column("MESSAGES", is_right=True),
    Column("TITLE", share=3),
)


def drawn(rows: list[tuple[str, ...]], width: int, columns: tuple[Column, ...] = COLUMNS) -> list[str]:
    """The lines that a terminal of that width gets, without styles."""
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=width, color_system=None, markup=False, highlight=False)
    draw(columns, rows, screen)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 61, 80, 119, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = [(str(n), f"id-{odd}", "1,234", odd) for n, odd in enumerate(ODD)]
    lines = drawn(rows, width)
    assert len(lines) == len(rows) + 1
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("odd", ODD)
def test_columns_begin_where_they_begin_in_every_line(odd: str) -> None:
    lines = drawn([("1", "plain", "5", "|"), ("2", odd, "5", "|")], 80)
    ends = {cell_len(line[: line.index("|")].rstrip("\u2068")) for line in lines[1:]}
    assert len(ends) == 1


def test_text_from_right_to_left_is_isolated_so_that_it_moves_nothing_beside_it() -> None:
    (_, line) = drawn([("1", "عنوان", "5", "x")], 80)
    assert "\u2068عنوان\u2069" in line
    assert "\u2068" not in drawn([("1", "title", "5", "x")], 80)[1]


def test_into_a_pipe_fields_are_whole_between_tabs_and_have_no_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    file = io.StringIO()
    draw(COLUMNS, [("1", "x" * 300, "2", "a\tb")], Console(file=file, width=80))
    assert file.getvalue() == f"1\t{'x' * 300}\t2\ta\\tb\n"


def test_a_field_as_long_as_a_book_is_cut_and_takes_no_time_to_speak_of() -> None:
    (_, line) = drawn([("1", "a", "2", "漢" * 2_000_000)], 80)
    assert cell_len(line) <= 80
    assert line.endswith("…")


def test_columns_give_way_by_their_share_and_those_without_one_never() -> None:
    assert fitted([4, 100, 10], [0, 1, 0], 50) == [4, 36, 10]
    assert fitted([4, 100, 100], [0, 1, 3], 60) == [4, 14, 42]
    assert fitted([4, 10, 10], [0, 1, 3], 60) == [4, 10, 10]
    assert fitted([40, 100], [0, 1], 20) == [40, 6], "a few cells stay where there is no room"


@given(st.lists(st.tuples(st.text(), st.text(), st.text(), st.text()), max_size=5), st.integers(60, 200))
def test_whatever_is_in_them_lines_fit_and_none_is_added(rows: list[tuple[str, str, str, str]], width: int) -> None:
    columns = tuple(Column(head, share=1) for head in "ABCD")
    lines = drawn(rows, width, columns)
    assert len(lines) == len(rows) + 1
    assert all(cell_len(line) <= width for line in lines)


# Text


@given(st.text())
def test_what_is_safe_has_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = safe(text)
    assert not any(c < " " or "\x7f" <= c < "\xa0" or c in "\u202e\u2066\u200f" for c in shown)
    assert safe(shown) == shown


@given(st.text(), st.integers(2, 100))
def test_one_line_is_one_and_no_longer_than_asked_for(text: str, limit: int) -> None:
    assert len(one_line(text, limit)) <= limit
    assert "\n" not in one_line(text, limit)


def test_what_is_cut_ends_in_an_ellipsis() -> None:
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line("a\n  b", 6) == "a b"


def test_things_are_counted_as_people_do() -> None:
    assert [count(n, "message") for n in (0, 1, 5308)] == ["0 messages", "1 message", "5,308 messages"]
    assert count(2, "child", "children") == "2 children"


# Times and sizes


@pytest.mark.parametrize(
    ("passed_s", "shown"),
    [(0, "now"), (59, "59s ago"), (60, "1min ago"), (3599, "59min ago"), (3600, "1h ago"), (86_400, "1d ago"),
     (86_400 * 31, "1mo ago"), (86_400 * 800, "2y ago"), (-120, "in 2min")],
)  # fmt: skip
def test_a_time_is_told_by_how_long_ago_it_was(passed_s: float, shown: str) -> None:
    assert times.ago(1_000_000_000.0 - passed_s, 1_000_000_000.0) == shown


@pytest.mark.parametrize(("number", "shown"), [(0, "0 B"), (1023, "1023 B"), (1434, "1.4 KiB"), (12 * 2**20, "12 MiB")])
def test_a_size_is_told_in_its_unit(number: int, shown: str) -> None:
    assert times.size(number) == shown


@pytest.mark.parametrize("unix_s", [1e300, -1e300, float("inf"), float("nan")])
def test_a_time_out_of_the_calendar_is_shown_as_what_it_is(unix_s: float) -> None:
    assert times.moment(unix_s).endswith(" s")
    assert times.ago(unix_s, 0.0)


# JSON

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(_VALUES)
def test_json_comes_back_as_it_was_from_one_harmless_line(value: object) -> None:
    line = dumps(value)
    assert json.loads(line) == value
    assert safe(line) == line


@pytest.mark.parametrize(
    "character", ["\x1b", "\x9b", "\u202e", "\u2066", "\u2028", "\ufeff", "\u061c", "\U000e0041", "\ud800", "\x7f"]
)
def test_json_has_what_acts_on_a_terminal_as_escapes(character: str) -> None:
    assert character not in dumps({"title": f"a{character}b"})
    assert json.loads(dumps(character)) == character


def test_json_leaves_text_readable() -> None:
    assert dumps({"title": "漢字 é 👩‍👩‍👧"}) == '{"title":"漢字 é 👩‍👩‍👧"}'


# In a terminal


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_in_a_terminal_wide_and_turned_text_moves_no_column(columns: int, root: Path, store: SessionStore) -> None:
    for number, odd in enumerate(ODD):
        store.create(f"s{number}", title=odd).append("user", "x")
    lines = shown("ls", "--root", root, columns=columns)
    head, *rows = lines
    assert len(rows) == len(ODD)
    place = head.index("MESSAGES")
    # What stands in a column of numbers stands below its head in every line.
    assert {row[place : place + len("MESSAGES")].strip() for row in rows} == {"1"}
