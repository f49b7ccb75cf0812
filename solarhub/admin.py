"""Make an administrator: nobody can register as one."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

import bcrypt
from pydantic import BaseModel, ValidationError

from core.errors import EmailTaken
from core.settings import DatabaseSettings
from core.tokens import hash_of
from db import sign_in_codes, users
from db.errors import refusals
from db.pool import open_connection
from solarhub.errors import HubError, database_reached

_FULL_NAME = "Administrator"
_LINK_GOOD_FOR = timedelta(hours=1)


async def create(settings: DatabaseSettings, email: str, password: str, rounds: int) -> None:
    """Raises HubError when the email is taken, or one of both is nothing to sign in with."""
    address, secret = _checked(email, password)
    password_hash = await asyncio.to_thread(bcrypt.hashpw, secret, bcrypt.gensalt(rounds))
    await _store(settings, address, password_hash.decode())


async def sign_in_link(settings: DatabaseSettings, email: str, public_url: str) -> str:
    """A URL that signs an administrator in, once, within an hour.

    Its code stands behind the `#`, which browsers keep to themselves.
    """
    code = secrets.token_urlsafe(32)
    async with (
        open_connection(settings, application_name="sign-in-link") as conn,
        conn.transaction(),
    ):
        user = await users.by_email(conn, email)
        if user is None:
            raise HubError(f"there is no account {email}")
        good_until = datetime.now(UTC) + _LINK_GOOD_FOR
        await sign_in_codes.add(conn, user.id, hash_of(code), good_until)
    return f"{public_url}/#code={code}"


def _checked(email: str, password: str) -> tuple[str, bytes]:
    """Both as the API takes them at sign-in. Raises HubError."""
    from api.auth import Email, NewPassword  # a second of imports that few commands need

    class SignIn(BaseModel):
        email: Email
        password: NewPassword

    try:
        checked = SignIn(email=email, password=password)
    except ValidationError as error:
        [problem, *_] = error.errors(include_input=False)
        told = str(problem["msg"]).removeprefix("Value error, ")
        what = email if problem["loc"] == ("email",) else "the password"
        raise HubError(f"{what}: {told}") from None
    return checked.email, checked.password.encode()


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
