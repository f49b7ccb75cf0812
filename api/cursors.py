"""Cursors: where a list goes on, opaque to the client.

The key of the last item that was shown, as JSON in base64url. `limit + 1` rows are asked for: if
the last of them comes, there is more.
"""

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from api.envelope import Page
from api.fields import Instant
from core.errors import Invalid

KeyT = TypeVar("KeyT")
RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")

_ID_MAX = 2**63 - 1


class Cursor(Generic[KeyT]):
    def __init__(self, key_type: TypeAdapter[KeyT], start: KeyT) -> None:
        self._type = key_type
        self._start = start

    def read(self, cursor: str | None) -> KeyT:
        """The key that a list goes on after; the start without a cursor. Raises Invalid."""
        if cursor is None:
            return self._start
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            return self._type.validate_json(base64.b64decode(padded, b"-_", validate=True))
        except (ValidationError, ValueError):
            raise Invalid(field="cursor", allowed="must be a next_cursor of this list") from None

    def page(
        self,
        rows: Sequence[RowT],
        limit: int,
        *,
        key: Callable[[RowT], KeyT],
        show: Callable[[RowT], ItemT],
    ) -> Page[ItemT]:
        """The first `limit` of `limit + 1` rows."""
        more = len(rows) > limit
        return Page(
            items=[show(row) for row in rows[:limit]],
            next_cursor=self._write(key(rows[limit - 1])) if more else None,
        )

    def _write(self, key: KeyT) -> str:
        return base64.urlsafe_b64encode(self._type.dump_json(key)).decode().rstrip("=")


_Price = Annotated[Decimal, Field(ge=-1, max_digits=10, decimal_places=4)]
_Id = Annotated[int, Field(ge=0, le=_ID_MAX)]

NEWEST = Cursor(
    TypeAdapter(tuple[Instant, UUID]),
    (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1)),
)
CHEAPEST = Cursor(TypeAdapter(tuple[_Price, UUID]), (Decimal(-1), UUID(int=0)))
NEAREST = Cursor(TypeAdapter(tuple[FiniteFloat, UUID]), (-1.0, UUID(int=0)))
NEWEST_ID = Cursor(TypeAdapter(_Id), _ID_MAX)
OLDEST = Cursor(TypeAdapter(Instant), datetime.min.replace(tzinfo=UTC))
