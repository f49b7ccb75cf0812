"""What makes two requests the same one."""

import hashlib
import json
from decimal import Decimal


def request_hash(*asked: object) -> bytes:
    """SHA-256 over what is asked for, however it was written: 1.5 is 1.500."""
    return hashlib.sha256(json.dumps([_canonical(value) for value in asked]).encode()).digest()


def _canonical(value: object) -> str | None:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return None if value is None else str(value)
