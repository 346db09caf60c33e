"""Listing sessions: what a caller may ask for, and the cursor that he takes from page to page."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from hierstore.disk.index import listing
from hierstore.disk.index.index import Index
from hierstore.disk.index.listing import ORDERS, Cursor, Filter, Order
from hierstore.errors import InvalidRecord, quoted
from hierstore.model import SessionInfo
from hierstore.pages import Page
from hierstore.values import encode, loads, text_set

MAX_LIMIT = 10_000
MAX_LABELS = 100


def sessions(index: Index, wanted: Filter, order: str, limit: int, after: str | None) -> Page[SessionInfo]:
    """A page of sessions.

    Raises:
        InvalidRecord: there is no such order, the limit is no number from 1 to 10,000, or ``after`` is no cursor.
    """
    by = ORDERS.get(order) if isinstance(order, str) else None
    if by is None:
        raise InvalidRecord(f"order is one of {', '.join(ORDERS)}, not {quoted(order)}.", where="order")
    limit = check_limit(limit)
    cursor = None if after is None else _cursor(after, order, by)
    found = index.listing(lambda view: listing.page(view, wanted, by, limit, cursor))
    return Page(found.infos, None if found.next is None else written([order, *found.next]))


def check_limit(limit: object) -> int:
    """How many items a page may have.

    Raises:
        InvalidRecord: no number from 1 to 10,000.
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidRecord(f"limit is a number from 1 to {MAX_LIMIT:,}, not {quoted(limit)}.", where="limit")
    return limit


def maybe_flag(value: object, where: str) -> bool | None:
    """Whether sessions must be so, must not, or None.

    Raises:
        InvalidRecord: it is something else.
    """
    if value is None or isinstance(value, bool):
        return value
    raise InvalidRecord(f"{where} is True, False or None, not {quoted(value)}.", where=where)


def labels_of(label: str | Iterable[str] | None) -> tuple[str, ...]:
    """The labels that a session must have, of one or several.

    Raises:
        InvalidRecord: no texts, or more than 100.
    """
    if label is None:
        return ()
    labels = text_set([label] if isinstance(label, str) else label, "label")
    if len(labels) > MAX_LABELS:
        raise InvalidRecord(
            f"label asks for {len(labels):,} labels, and at most {MAX_LABELS} can be asked for.", where="label"
        )
    return labels


def written(record: list[Any]) -> str:
    """A cursor as text."""
    return base64.urlsafe_b64encode(encode(record, "cursor")).rstrip(b"=").decode()


def read(text: object) -> list[Any]:
    """What ``written`` wrote.

    Raises:
        InvalidRecord: it did not.
    """
    try:
        if not isinstance(text, str):
            raise TypeError
        record = loads(base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise no_cursor(text) from None
    if not isinstance(record, list):
        raise no_cursor(text)
    return record


def no_cursor(text: object) -> InvalidRecord:
    """The refusal of what is no cursor."""
    return InvalidRecord(f"after is no cursor of such a page: {quoted(text)}.", where="after")


def _cursor(text: str, order: str, by: Order) -> Cursor:
    match read(text):
        case [str(name), str(epoch), int(generation), float() | int() | str() as key, str(last), list(shown)]:
            is_text = by.column == "title_order"
            if name == order and isinstance(key, str) == is_text and all(isinstance(item, str) for item in shown):
                return Cursor(epoch, generation, key, last, tuple(shown))
    raise no_cursor(text)
