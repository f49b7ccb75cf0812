"""Make an administrator: nobody can register as one."""

import asyncio

import bcrypt
from pydantic import BaseModel, ValidationError

from core.errors import EmailTaken
from core.settings import DatabaseSettings
from db import users
from db.errors import refusals
from db.pool import open_connection
from solarhub.errors import HubError, database_reached

_FULL_NAME = "Administrator"


async def create(settings: DatabaseSettings, email: str, password: str, rounds: int) -> None:
    """Raises HubError when the email is taken, or one of both is nothing to sign in with."""
    address, secret = _checked(email, password)
    password_hash = await asyncio.to_thread(bcrypt.hashpw, secret, bcrypt.gensalt(rounds))
    await _store(settings, address, password_hash.decode())


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
