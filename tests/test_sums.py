"""Sums: exact, and the same in every order."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierstore.sums import NOTHING, Sum, exact, plus, value
from hierstore.values import encode, loads

NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.001, 0.1])
)


def written(number: float) -> Fraction:
    """The number as it is written, which is what a person means by it."""
    return Fraction(repr(number))


def fraction(total: Sum) -> Fraction:
    return Fraction(int(total[0])) * Fraction(10) ** total[1]


@given(NUMBERS)
def test_a_number_comes_back_as_it_was(number: float) -> None:
    back = value(exact(number))
    assert back == number
    assert type(back) is type(number)


@given(NUMBERS)
def test_a_number_is_kept_as_it_is_written(number: float) -> None:
    assert fraction(exact(number)) == written(number)


@given(st.lists(NUMBERS, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_adding_makes_no_difference_and_nothing_is_rounded(
    numbers: list[float], shuffle: random.Random
) -> None:
    total = reduce(plus, map(exact, numbers), NOTHING)
    shuffle.shuffle(numbers)
    again = reduce(plus, map(exact, numbers), NOTHING)
    assert fraction(total) == fraction(again) == sum(map(written, numbers))
    assert value(total) == value(again)
    assert total[2] == any(isinstance(number, float) for number in numbers)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_sums_of_sums_are_the_same_sums(a: float, b: float, c: float) -> None:
    one, two, three = exact(a), exact(b), exact(c)
    assert fraction(plus(plus(one, two), three)) == fraction(plus(one, plus(two, three)))


@given(st.lists(NUMBERS, max_size=5))
def test_a_sum_survives_json(numbers: list[float]) -> None:
    total = reduce(plus, map(exact, numbers), NOTHING)
    assert tuple(loads(encode(list(total), "sum"))) == total


@pytest.mark.parametrize(("number", "times", "wanted"), [(0.001, 8000, 8.0), (0.1, 10, 1.0), (1e-7, 10**4, 0.001)])
def test_many_small_numbers_make_the_round_one(number: float, times: int, wanted: float) -> None:
    assert value(reduce(plus, [exact(number)] * times, NOTHING)) == wanted


def test_nothing_is_an_int_and_an_int_stays_one() -> None:
    assert repr(value(NOTHING)) == "0"
    assert repr(value(plus(NOTHING, exact(2)))) == "2"
    assert repr(value(plus(exact(2), exact(0.0)))) == "2.0"
    assert repr(value(plus(exact(0.5), exact(-0.5)))) == "0.0"


def test_a_sum_that_comes_to_nothing_takes_no_room() -> None:
    total = plus(exact(1e-300), exact(1e300))
    assert plus(plus(total, exact(-1e-300)), exact(-1e300)) == ("0", 0, True)


def test_what_was_rounded_away_when_read_is_still_there() -> None:
    total = plus(exact(1e16), exact(0.3))
    assert value(total) == 1e16
    assert value(plus(total, exact(-1e16))) == 0.3
