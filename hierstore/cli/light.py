"""Parameters without pydantic, which typer imports from version 0.29 on to look at any value, be it a text for a text.

That takes as long as everything else that a command imports together. What is not plainly right is still typer's business,
and so are all complaints.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any


def lightened(params: list[Any]) -> list[Any]:
    """Parameters that take plain values without a library's help; with a typer that does so anyway, as they are."""
    for param in params:
        descriptor = getattr(param, "type_descriptor", None)
        full = getattr(param, "get_runtime_param", None)
        if descriptor is not None and full is not None and not isinstance(full, _Light):
            param.get_runtime_param = _Light(full, descriptor.annotation)
    return params


class _Light:
    """In the place of a parameter's own coercion, which is asked where a value is not plainly right."""

    def __init__(self, full: Callable[[], Any], annotation: Any) -> None:
        self._full = full
        self._annotation = annotation

    def __call__(self) -> _Light:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command takes it."""
        is_several = param.multiple or param.nargs == -1
        if value is None:
            return () if is_several else None
        wanted = self._annotation
        if wanted == list[str] and is_several and isinstance(value, list | tuple):
            return list(value)
        if isinstance(wanted, type) and not is_several:
            found = _maybe_plain(wanted, value, param)
            if found is not None:
                return found
        return self._full().coerce(value, param=param, ctx=ctx)


def _maybe_plain(wanted: type, value: Any, param: Any) -> Any:
    """The value, if it is one of that type or the plain text of one; None where that is not sure."""
    if isinstance(value, wanted) and wanted in (str, bool):
        return value
    if issubclass(wanted, Enum):
        return next((one for one in wanted if value in (one, one.value)), None)
    if wanted not in (int, float):
        return None
    try:
        number = wanted(value)
    except (TypeError, ValueError, OverflowError):
        return None
    is_written = not isinstance(value, str) or (value.isascii() and value.replace(".", "", 1).isdigit())
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    is_inside = (low is None or number >= low) and (high is None or number <= high)
    return number if is_written and is_inside else None
