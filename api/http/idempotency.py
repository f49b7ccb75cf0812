"""Idempotency keys: the header that names a request, and the hash that recognises it again."""

import hashlib
import json
from decimal import Decimal
from typing import Annotated

from fastapi import Header

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Names this request: sent again with the same key, it takes effect once",
        examples=["7b0c1f9e-order-41"],
    ),
]


def request_hash(*values: object) -> bytes:
    """Return the SHA-256 of the values of a request. Equal numbers hash equally: 1.5 and 1.500."""
    return hashlib.sha256(json.dumps([_canonical(value) for value in values]).encode()).digest()


def _canonical(value: object) -> str | None:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return None if value is None else str(value)
