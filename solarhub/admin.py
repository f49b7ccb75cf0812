"""Administrators: created from the command line, since nobody can register as one."""

import asyncio
import secrets
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import bcrypt
from pydantic import TypeAdapter, ValidationError

from core.clock import real_now
from core.enums import UserRole
from core.errors import EmailTaken
from core.settings import DatabaseSettings, PasswordSettings, load
from core.tokens import hash_of
from db import sign_ins, users
from db.errors import refusals
from db.pool import open_connection
from simulators import private_json
from simulators.hub_client import UserAccount, invent_account
from solarhub.errors import CommandError, database_reached

_FULL_NAME = "Administrator"
_ACCOUNT_FILE = "demo.json"
_LINK_LIFETIME = timedelta(hours=1)


async def create(settings: DatabaseSettings, email: str, password: str, rounds: int) -> None:
    """Create an administrator. Raises CommandError if the email is taken or either is invalid."""
    address, secret = checked_email(email), checked_password(password)
    password_hash = await asyncio.to_thread(bcrypt.hashpw, secret, bcrypt.gensalt(rounds))
    await _store(settings, address, password_hash.decode())


async def embedded(data: Path, settings: DatabaseSettings) -> UserAccount:
    """Return the administrator of an embedded hub; create one at the first call."""
    path = data / _ACCOUNT_FILE
    stored = private_json.read(path)
    account = (
        invent_account(_FULL_NAME, UserRole.ADMIN) if stored is None else UserAccount(**stored)
    )
    # The file may be older than the database, which was replaced or emptied.
    if stored is None or not await _exists(settings, account.email):
        rounds = load(PasswordSettings).bcrypt_rounds
        await create(settings, account.email, account.password, rounds)
        private_json.write(path, asdict(account))
    return account


async def _exists(settings: DatabaseSettings, email: str) -> bool:
    with database_reached():
        async with open_connection(settings, application_name="administrator") as conn:
            return await users.by_email(conn, email) is not None


async def sign_in_link(settings: DatabaseSettings, email: str, public_url: str) -> str:
    """Return a URL that signs an administrator in, once, within an hour.

    The code stands behind the `#`: browsers do not send that part to any server.
    """
    code = secrets.token_urlsafe(32)
    async with (
        open_connection(settings, application_name="sign-in-link") as conn,
        conn.transaction(),
    ):
        user = await users.by_email(conn, email)
        if user is None:
            raise CommandError(f"no user account has the email {email}")
        valid_until = real_now() + _LINK_LIFETIME
        await sign_ins.add_code(conn, user.id, hash_of(code), valid_until)
    return f"{public_url}/#code={code}"


def checked_email(email: str) -> str:
    """Validate an email as the API does at sign-in. Raises CommandError."""
    from api.users.routes import Email

    return _checked("email", Email, email)


def checked_password(password: str) -> bytes:
    """Validate a new password as the API does. Raises CommandError."""
    from api.users.passwords import NewPassword

    return _checked("password", NewPassword, password).encode()


def _checked(name: str, kind: Any, value: str) -> str:
    try:
        checked: str = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        [problem, *_] = error.errors(include_input=False)
        shown = value if name == "email" else f"the {name}"
        message = str(problem["msg"]).removeprefix("Value error, ")
        raise CommandError(f"{shown}: {message}") from None
    return checked


async def _store(settings: DatabaseSettings, email: str, password_hash: str) -> None:
    try:
        with database_reached(), refusals(email=email):
            async with open_connection(settings, application_name="create-admin") as conn:
                await users.create(
                    conn, email=email, password_hash=password_hash, full_name=_FULL_NAME,
                    phone=None, role=UserRole.ADMIN,
                )  # fmt: skip
    except EmailTaken:
        raise CommandError(f"{email} already has a user account: choose another email") from None
