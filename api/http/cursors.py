"""Cursors of lists: the position of a page, opaque to the client.

A cursor is the key of the last item of a page, with each part of the key at a fixed width. Every
text that matches a cursor's pattern is a valid key, so the documented pattern is exactly what is
accepted. A page of `limit` items is read with `limit + 1` rows: the last one tells that there is
another page.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field
from starlette.responses import Response

from api.http.envelope import Page, ok_of_json
from api.http.fields import Matching

KeyT = TypeVar("KeyT")
RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")


class Shown(Protocol):
    """A row whose JSON the database has written. `shown` is the JSON."""

    @property
    def shown(self) -> str: ...


ShownT = TypeVar("ShownT", bound=Shown)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST = datetime.max.replace(tzinfo=UTC)
_LAST_ID = 2**63 - 1


class Cursor(Generic[KeyT]):
    """The cursor of a kind of list. `form` validates and documents the query's `cursor`.

    `start` is a key before the first item.
    """

    def __init__(
        self,
        pattern: str,
        *,
        read: Callable[[str], KeyT],
        write: Callable[[KeyT], str],
        start: KeyT,
    ) -> None:
        self.form = Matching(pattern, "must be a next_cursor of this list")
        self._read = read
        self._write = write
        self._start = start

    def read(self, cursor: str | None) -> KeyT:
        """Return the key of the last item of the previous page, or the start without a cursor."""
        return self._start if cursor is None else self._read(cursor)

    def page(
        self,
        rows: Sequence[RowT],
        limit: int,
        *,
        key: Callable[[RowT], KeyT],
        show: Callable[[RowT], ItemT],
    ) -> Page[ItemT]:
        """Return the page of the first `limit` of `limit + 1` rows."""
        items, next_cursor = self._part(rows, limit, key)
        return Page(items=[show(row) for row in items], next_cursor=next_cursor)

    def written(
        self,
        rows: Sequence[ShownT],
        limit: int,
        *,
        key: Callable[[ShownT], KeyT],
    ) -> Response:
        """Return the response with the page, of rows whose JSON is written already."""
        items, next_cursor = self._part(rows, limit, key)
        return ok_of_json([row.shown for row in items], next_cursor)

    def _part(
        self, rows: Sequence[RowT], limit: int, key: Callable[[RowT], KeyT]
    ) -> tuple[Sequence[RowT], str | None]:
        more = len(rows) > limit
        return rows[:limit], self._write(key(rows[limit - 1])) if more else None


def _instant(text: str) -> datetime:
    return _EPOCH + int(text) * _MICROSECOND


def _microseconds(at: datetime) -> str:
    return f"{(at - _EPOCH) // _MICROSECOND:016}"


def _price(text: str) -> Decimal:
    return Decimal(int(text)).scaleb(-4)


def _ten_thousandths(price: Decimal) -> str:
    return f"{int(price.scaleb(4)):010}"


def _distance(text: str) -> float:
    distance_km: float = struct.unpack(">d", bytes.fromhex(text))[0]
    return distance_km


def _bits(distance_km: float) -> str:
    return struct.pack(">d", distance_km).hex()


_INSTANT, _PRICE, _UUID = "[0-9]{16}", "[0-9]{10}", "[0-9a-f]{32}"
# The bits of a double from 0 to 131,071, which sort like the numbers.
_DISTANCE = "([0-3][0-9a-f]|40)[0-9a-f]{14}"

NEWEST = Cursor(
    _INSTANT + _UUID,
    read=lambda text: (_instant(text[:16]), UUID(text[16:])),
    write=lambda key: _microseconds(key[0]) + key[1].hex,
    start=(_LAST, UUID(int=2**128 - 1)),
)
# The time of creation, price and id of a listing: one cursor for both orders of the list.
LISTED = Cursor(
    _INSTANT + _PRICE + _UUID,
    read=lambda text: (_instant(text[:16]), _price(text[16:26]), UUID(text[26:])),
    write=lambda key: _microseconds(key[0]) + _ten_thousandths(key[1]) + key[2].hex,
    start=(_LAST, Decimal(-1), UUID(int=0)),
)
NEAREST = Cursor(
    _DISTANCE + _UUID,
    read=lambda text: (_distance(text[:16]), UUID(text[16:])),
    write=lambda key: _bits(key[0]) + key[1].hex,
    start=(-1.0, UUID(int=0)),
)
NEWEST_ID = Cursor("[0-9]{1,18}", read=int, write=str, start=_LAST_ID)
OLDEST = Cursor(
    _INSTANT, read=_instant, write=_microseconds, start=datetime.min.replace(tzinfo=UTC)
)


PartBefore = Annotated[str, Field(description="`next_cursor` of the previous page")]


class PageQuery(BaseModel):
    """The page of a list, newest first. Lists in another order have queries of their own."""

    limit: Annotated[
        int, Field(ge=1, le=100, description="Largest number of items in the page")
    ] = 20
    cursor: Annotated[PartBefore, NEWEST.form] | None = None


class IdPageQuery(PageQuery):
    """The page of a list whose items are numbered, newest first."""

    cursor: Annotated[PartBefore, NEWEST_ID.form] | None = None
