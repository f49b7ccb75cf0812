"""Make an administrator: nobody can register as one."""

import asyncio

import bcrypt
from pydantic import validate_email
from pydantic_core import PydanticCustomError

from core.errors import EmailTaken
from core.settings import DatabaseSettings
from db import users
from db.errors import refusals
from db.pool import open_connection
from solarhub.errors import HubError, database_reached

_PASSWORD_LEAST_BYTES = 10
_PASSWORD_MOST_BYTES = 72  # bcrypt reads no further

_FULL_NAME = "Administrator"


async def create(settings: DatabaseSettings, email: str, password: str, rounds: int) -> None:
    """Raises HubError when the email is no email or taken, or the password too short or long."""
    secret = password.encode()
    if not _PASSWORD_LEAST_BYTES <= len(secret) <= _PASSWORD_MOST_BYTES:
        raise HubError(
            f"the password must have {_PASSWORD_LEAST_BYTES} to {_PASSWORD_MOST_BYTES} bytes"
        )
    try:
        address = validate_email(email)[1]
    except PydanticCustomError as error:
        raise HubError(f"{email}: {error.message()}") from None
    password_hash = await asyncio.to_thread(bcrypt.hashpw, secret, bcrypt.gensalt(rounds))
    await _store(settings, address, password_hash.decode())


async def _store(settings: DatabaseSettings, email: str, password_hash: str) -> None:
    try:
        with database_reached(), refusals(email=email):
            async with open_connection(settings, application_name="create-admin") as conn:
                await users.create(
                    conn, email=email, password_hash=password_hash, full_name=_FULL_NAME,
                    phone=None, role="admin",
                )  # fmt: skip
    except EmailTaken:
        raise HubError(f"{email} has an account already: choose another email") from None
