"""Messages, drawn one below the other.

What they say is indented, line by line, and their headings are not: so content never passes for a heading. Into a pipe
lines are whole; in a terminal they are wrapped to its width, Markdown is drawn, and what is long and of little interest
is folded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from hierstore.cli import parts
from hierstore.cli.lines import style_of
from hierstore.cli.terminal import UNCUT, is_limited
from hierstore.cli.text import count, one_line, safe

if TYPE_CHECKING:
    from rich.console import Console

    from hierstore import Message

_INDENT = 2
_DEEPER = 4
_LEAST_CELLS = 10
_NAME_CHARS = 60
_ROLE_CHARS = 40
_FOLDED_LINES = 8
_LEAST_FOLDED = 4
_IN_HEADING = ("name", "tool_call_id")
_TOOLS = frozenset(["tool", "function"])
"""Roles that say what a program said: no Markdown, and mostly of little interest."""


class Transcript:
    """Draws messages.

    Args:
        screen: where to.
        is_full: whether calls and results are shown whole.
        is_plain: whether Markdown is left as it is written.

    Attributes:
        is_read: whether it is drawn for a person to read, and not for a program.
    """

    def __init__(self, screen: Console, *, is_full: bool = False, is_plain: bool = False) -> None:
        self._screen = screen
        self.is_read = is_limited(screen)
        self._is_full = is_full
        self._arrow = "-> " if screen.options.ascii_only else "→ "
        self._draws_markdown = screen.is_terminal and not is_plain
        self._folds = screen.is_terminal and not is_full

    def line(self, text: str, *, indent: int = 0, label: str = "", style: str = "", label_style: str = "dim") -> None:
        """Print a text behind a label, with its own line breaks; the further lines begin below its first."""
        self._print(lambda margin: self._wrapped(text, style, margin), indent, label, label_style)

    def message(self, message: Message) -> None:
        """Print a message."""
        fields = message.fields
        role = self._short(message.role, _ROLE_CHARS)
        heading = [f"#{message.seq}"]
        heading += [self._short(str(fields.pop(key)), _NAME_CHARS) for key in _IN_HEADING if key in fields]
        self.line("")
        self.line("  ".join(heading), label=f"{role}  ", label_style=f"bold {style_of(role)}", style="dim")
        found = list(parts.parts(message.content))
        for part in found:
            if isinstance(part, parts.Call):
                self._call(part)
            else:
                self._part(part, is_tool=role in _TOOLS or part.name == "result", is_only=len(found) == 1)
        for call in parts.take_calls(fields):
            self._call(call)
        self._extras(fields, "{}: ")
        self._extras(message.metadata, "({}) ")

    def _part(self, part: parts.Part, *, is_tool: bool, is_only: bool) -> None:
        is_text = part.name == "text"
        text = parts.without_data(part.text)
        if not part.name or (is_text and is_only):
            label = ""
        elif text:
            label = f"{part.label} "
        else:
            self.line(part.label, indent=_INDENT, style="magenta")
            return

        def lines(margin: int) -> Iterable[Text]:
            drawn = self._markdown(text, margin) if is_text and not is_tool else None
            plain = self._wrapped(text, "", margin) if drawn is None else drawn
            return self._folded(list(plain)) if is_tool and self._folds else plain

        self._print(lines, _INDENT, label, "magenta")

    def _markdown(self, text: str, margin: int) -> list[Text] | None:
        if not self._draws_markdown or not text.strip():
            return None
        from hierstore.cli.markdown import drawn

        return drawn("\n".join(_safe_lines(text)), self._screen, self._room(margin))

    @staticmethod
    def _folded(lines: list[Text]) -> list[Text]:
        left_out = len(lines) - _FOLDED_LINES
        if left_out < _LEAST_FOLDED:
            return lines
        return [*lines[:_FOLDED_LINES], Text(f"… {count(left_out, 'more line')}: --full", style="dim")]

    def _call(self, call: parts.Call) -> None:
        if not self._is_full:
            line = Text(safe(parts.folded(call)))
            if self.is_read:
                line.truncate(self._room(_INDENT + len(self._arrow)), overflow="ellipsis")
            self._print(lambda _: [line], _INDENT, self._arrow, "yellow")
            return
        call_id = "" if call.id is None else f"  [{one_line(call.id, _NAME_CHARS)}]"
        self.line(f"{call.name}{call_id}", indent=_INDENT, label=self._arrow, label_style="yellow")
        given = parts.arguments(call)
        if isinstance(given, str):
            if given:
                self.line(parts.without_data(given), indent=_INDENT + _DEEPER)
            return
        for name, value in given.items():
            self.line(parts.shown(value), indent=_INDENT + _DEEPER, label=f"{self._short(name, _NAME_CHARS)}: ")

    def _extras(self, values: Mapping[str, Any], label: str) -> None:
        for name, value in values.items():
            self.line(
                parts.brief(value), indent=_INDENT, label=label.format(self._short(name, _ROLE_CHARS)), style="dim"
            )

    # Lines

    def _short(self, text: str, limit: int) -> str:
        """A name on one line, and cut, but not for a program."""
        return one_line(text, limit if self.is_read else UNCUT)

    def _room(self, margin: int) -> int:
        return max(_LEAST_CELLS, self._screen.width - margin)

    def _wrapped(self, text: str, style: str, margin: int) -> Iterator[Text]:
        for line in _safe_lines(text):
            if not self.is_read:
                yield Text(line, style)
                continue
            pieces = list(Text(line, style).wrap(self._screen, self._room(margin)))
            for piece in pieces:
                piece.rstrip()
            yield from pieces or [Text()]

    def _print(self, lines: Callable[[int], Iterable[Text]], indent: int, label: str, label_style: str) -> None:
        """Print lines, which are made for a margin, behind a label; where that takes too much room, below it."""
        before = Text.assemble(" " * indent, (safe(label), label_style))
        if self.is_read and before.cell_len > self._screen.width // 2:
            self._put(self._wrapped(label.rstrip(), label_style, indent), Text(" " * indent))
            before = Text(" " * (indent + _DEEPER))
        self._put(lines(before.cell_len), before)

    def _put(self, lines: Iterable[Text], before: Text) -> None:
        margin = Text(" " * before.cell_len)
        whole = Text()
        for line in lines:
            # Nothing but a margin is nothing.
            if line or before is not margin:
                whole.append_text(before)
            whole.append_text(line).append("\n")
            before = margin
        if self.is_read:
            self._screen.print(whole, end="", soft_wrap=True)
        else:
            self._screen.file.write(whole.plain)


def _safe_lines(text: str) -> Iterator[str]:
    for line in text.replace("\r\n", "\n").replace("\t", "    ").split("\n"):
        yield safe(line)
