"""The message that everything is measured with: 300 bytes of text, each with a number of its own."""

from __future__ import annotations

SIZE_BYTES = 300
ROLE = "user"

_FILLER = (
    "Please look at the failing test in the payments module, find out why the retry is counted twice, and propose the"
    " smallest change that fixes it. The log of the last run is attached; the two lines that matter are near its end,"
    " and the third is a known warning. Do not touch the public interface, and say what you could not verify here."
)


def text(number: int) -> str:
    """The content of a message, unique to its number."""
    return f"{number:010d} {_FILLER}"[:SIZE_BYTES]


assert len(text(0)) == len(text(0).encode()) == SIZE_BYTES
