"""Exact sums of counters: the order in which processes add makes no difference.

Adding floats rounds at each step, so a thousand tenths of a cent make 99.99999999999859 tenths. A number is therefore
kept as its decimal digits and exponent, as it is written: adding those is exact, and the sum is rounded once, when it
is read.
"""

from __future__ import annotations

Sum = tuple[str, int, bool]
"""(digits, exponent, whether a float was ever added): ``("8001", -3, True)`` is 8.001. Digits as text, because JSON's
integers end at 64 bits."""

NOTHING: Sum = ("0", 0, False)


def exact(number: float) -> Sum:
    """A finite number as it is written."""
    if isinstance(number, int):
        return (str(number), 0, False)
    digits, _, exponent = repr(number).partition("e")
    whole, _, part = digits.partition(".")
    return (str(int(whole + part)), int(exponent or 0) - len(part), True) if number else ("0", 0, True)


def plus(first: Sum, second: Sum) -> Sum:
    """The sum of two, exactly."""
    exponent = min(first[1], second[1])
    digits = sum(int(item[0]) * 10 ** (item[1] - exponent) for item in (first, second))
    return (str(digits), exponent if digits else 0, first[2] or second[2])


def value(total: Sum) -> int | float:
    """The nearest number: an int where only ints were added."""
    digits, exponent, is_float = total
    return float(f"{digits}e{exponent}") if is_float else int(digits)
