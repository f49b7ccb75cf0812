"""Make an administrator: nobody can register as one."""

import asyncio
import secrets
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
from pydantic import BaseModel, ValidationError

from core.errors import EmailTaken
from core.settings import DatabaseSettings, PasswordSettings, load
from core.tokens import hash_of
from db import sign_in_codes, users
from db.errors import refusals
from db.pool import open_connection
from simulators import private_json
from simulators.hub_client import UserAccount, invent_account
from solarhub.errors import CommandError, database_reached

_FULL_NAME = "Administrator"
_KEPT_IN = "demo.json"
_LINK_GOOD_FOR = timedelta(hours=1)


async def create(settings: DatabaseSettings, email: str, password: str, rounds: int) -> None:
    """Raises HubError when the email is taken, or one of both is nothing to sign in with."""
    address, secret = _checked(email, password)
    password_hash = await asyncio.to_thread(bcrypt.hashpw, secret, bcrypt.gensalt(rounds))
    await _store(settings, address, password_hash.decode())


async def embedded(data: Path, settings: DatabaseSettings) -> UserAccount:
    """The administrator of the hub of a data directory, made when it is first needed."""
    path = data / _KEPT_IN
    known = private_json.read(path)
    account = invent_account(_FULL_NAME, "admin") if known is None else UserAccount(**known)
    # Another database, or the same emptied, knows nobody.
    if known is None or not await _is_known(settings, account.email):
        rounds = load(PasswordSettings).bcrypt_rounds
        await create(settings, account.email, account.password, rounds)
        private_json.write(path, asdict(account))
    return account


async def _is_known(settings: DatabaseSettings, email: str) -> bool:
    with database_reached():
        async with open_connection(settings, application_name="administrator") as conn:
            return await users.by_email(conn, email) is not None


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
            raise CommandError(f"there is no account {email}")
        good_until = datetime.now(UTC) + _LINK_GOOD_FOR
        await sign_in_codes.add(conn, user.id, hash_of(code), good_until)
    return f"{public_url}/#code={code}"


def _checked(email: str, password: str) -> tuple[str, bytes]:
    """Both as the API takes them at sign-in. Raises HubError."""
    from api.users.routes import Email, NewPassword

    class SignIn(BaseModel):
        email: Email
        password: NewPassword

    try:
        checked = SignIn(email=email, password=password)
    except ValidationError as error:
        [problem, *_] = error.errors(include_input=False)
        told = str(problem["msg"]).removeprefix("Value error, ")
        what = email if problem["loc"] == ("email",) else "the password"
        raise CommandError(f"{what}: {told}") from None
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
        raise CommandError(f"{email} has an account already: choose another email") from None
