"""Passwords: their limits, and bcrypt in threads.

bcrypt reads the first 72 bytes of a password, so longer ones are refused.
"""

import asyncio
from typing import Annotated

import bcrypt
from pydantic import AfterValidator, Field

from api.http.fields import Printable

_MIN_BYTES = 10
_MAX_BYTES = 72


def _check_encodable(value: str) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:  # JSON can escape half of a surrogate pair.
        raise ValueError("must be text") from None
    if size > _MAX_BYTES:
        raise ValueError(f"must have at most {_MAX_BYTES} bytes")
    return value


def _check_length(value: str) -> str:
    if len(value.encode()) < _MIN_BYTES:
        raise ValueError(f"must have at least {_MIN_BYTES} bytes")
    return value


# A password to sign in with. A short one is not refused as such: it is a wrong password.
Password = Annotated[
    str,
    Printable,
    AfterValidator(_check_encodable),
    Field(
        min_length=1,
        max_length=_MAX_BYTES,
        description="Password of the user, never shown and never logged",
        examples=["correct horse battery"],
    ),
]
NewPassword = Annotated[
    Password,
    AfterValidator(_check_length),
    Field(
        description=f"New password of {_MIN_BYTES}–{_MAX_BYTES} bytes",
        examples=["correct horse battery"],
    ),
]


class Passwords:
    """Hashes and compares passwords in threads: one takes a quarter of a second."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        # Compared against when there is no user, so that this takes as long. No password has it.
        self._unmatched_hash = bcrypt.gensalt(rounds).decode() + "." * 31

    async def hash(self, password: str) -> str:
        salt = bcrypt.gensalt(self._rounds)
        return (await asyncio.to_thread(bcrypt.hashpw, password.encode(), salt)).decode()

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Return True if the password has this hash; None takes as long and is False."""
        expected = (password_hash or self._unmatched_hash).encode()
        return await asyncio.to_thread(bcrypt.checkpw, password.encode(), expected)
