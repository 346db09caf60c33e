"""The errors: one tree, a sentence each, and whole on the other side of a pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import get_type_hints

import pytest

import hierstore
from hierstore import errors
from hierstore.errors import HierstoreError

ALL = [item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, HierstoreError)]

CONTRACT = [
    "SessionNotFound", "SessionExists", "RevisionConflict", "HierarchyCycle", "HasChildren", "InvalidSessionId", "InvalidRecord",
    "LockTimeout", "CorruptLog", "UnreadableLog", "DurabilityError", "FormatTooNew", "ReadOnlyStore", "ShareNotFound", "ShareExpired",
]  # fmt: skip


@pytest.mark.parametrize("name", CONTRACT)
def test_every_error_of_the_contract_is_public_and_below_the_one_base(name: str) -> None:
    assert issubclass(getattr(hierstore, name), hierstore.HierstoreError)
    assert name in hierstore.__all__


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_exported_and_drawn_in_the_tree(kind: type[HierstoreError]) -> None:
    assert getattr(hierstore, kind.__name__) is kind
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__doc__


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickling_with_its_facts(kind: type[HierstoreError], protocol: int) -> None:
    facts = {name: f"the {name}" for name in get_type_hints(kind)} | {"extra": (1, {"x": None})}
    error = kind("It went wrong.", **facts)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert str(again) == "It went wrong."
    assert {name: getattr(again, name) for name in facts} == facts
    assert again.args == error.args


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_survives_copying_and_keeps_its_notes(kind: type[HierstoreError]) -> None:
    error = kind("It went wrong.", path="/x")
    error.add_note("while testing")
    again = copy.copy(error)
    assert (str(again), again.path, again.__notes__) == ("It went wrong.", "/x", ["while testing"])


def test_a_fact_may_be_called_message() -> None:
    assert HierstoreError("It went wrong.", message="m").message == "m"


def test_a_callers_mistake_and_damage_on_disk_are_different_errors() -> None:
    caller = {errors.InvalidSessionId, errors.InvalidRecord, errors.SessionNotFound, errors.SessionExists}
    disk = {errors.UnreadableLog, errors.CorruptLog, errors.WriteFailed, errors.DurabilityError, errors.LockTimeout}
    for one in caller:
        for other in disk:
            assert not issubclass(one, other)
            assert not issubclass(other, one)
