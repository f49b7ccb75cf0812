"""Routes: register, sign in, stay signed in, sign out."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, EmailStr, Field, StringConstraints

from api import routing, sessions
from api.deps import CurrentUser, PoolDep, ServicesDep, SettingsDep
from api.envelope import Answer, created, ok
from api.errors import answers
from api.fields import Body, Name, Printable, ShownInstant, View
from api.passwords import PASSWORD_MAX_BYTES
from core.errors import BadCredentials, BadToken, EmailTaken, NotFound
from db import users
from db.errors import refusals

PASSWORD_MIN_BYTES = 10

public = routing.public("/auth", "auth")
private = routing.private("/auth", "auth")


def _encodable(value: str) -> str:
    size = len(value.encode(errors="replace"))
    if size > PASSWORD_MAX_BYTES:
        raise ValueError(f"must have at most {PASSWORD_MAX_BYTES} bytes")
    return value


def _long_enough(value: str) -> str:
    if len(value.encode()) < PASSWORD_MIN_BYTES:
        raise ValueError(f"must have at least {PASSWORD_MIN_BYTES} bytes")
    return value


Email = Annotated[EmailStr, Field(max_length=254, examples=["asha@example.org"])]
Password = Annotated[
    str,
    Printable,
    AfterValidator(_encodable),
    Field(min_length=1, max_length=PASSWORD_MAX_BYTES, examples=["correct horse battery"]),
]
NewPassword = Annotated[
    Password,
    AfterValidator(_long_enough),
    Field(description="10–72 bytes", examples=["correct horse battery"]),
]
Phone = Annotated[
    str,
    StringConstraints(pattern=r"^\+?[0-9][0-9 ()-]{4,24}$"),
    Field(examples=["+91 98450 12345"]),
]
RefreshToken = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$"),
    Field(examples=["kW1bQ0pQ2p2Vn6Yk6yM1nqkq3vX8m1O2c3J4h5G6f7E"]),
]


class Registration(Body):
    email: Email
    password: NewPassword
    full_name: Annotated[Name, Field(examples=["Asha Rao"])]
    role: Literal["buyer", "host", "investor"]
    phone: Phone | None = None


class Login(Body):
    email: Email
    password: Password


class Refresh(Body):
    refresh_token: RefreshToken


class UserView(View):
    id: UUID
    email: str
    full_name: str
    phone: str | None
    role: str
    is_active: bool
    created_at: ShownInstant


class SessionView(View):
    user: UserView
    access_token: Annotated[str, Field(description="JWT, for `Authorization: Bearer …`")]
    refresh_token: Annotated[str, Field(description="For `/auth/refresh`, once")]
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: Annotated[
        int,
        Field(
            validation_alias="expires_in_s", description="Seconds that the access token is good for"
        ),
    ]


@public.post("/register", status_code=201, responses=answers(EmailTaken))
async def register(services: ServicesDep, body: Registration) -> Answer[SessionView]:
    """Make an account of a role, with its empty wallet, and sign in."""
    password_hash = await services.passwords.hash(body.password)
    async with services.pool.acquire() as conn, conn.transaction():
        with refusals():
            user = await users.create(
                conn,
                email=body.email,
                password_hash=password_hash,
                full_name=body.full_name,
                phone=body.phone,
                role=body.role,
            )
        session = await sessions.begin(conn, services.settings, user)
    return created(SessionView.model_validate(session))


@public.post("/login", responses=answers(BadCredentials))
async def login(services: ServicesDep, body: Login) -> Answer[SessionView]:
    """Sign in. A wrong email and a wrong password get the same answer in the same time."""
    async with services.pool.acquire() as conn:
        user = await users.by_email(conn, body.email)
    password_hash = user.password_hash if user else None
    matches = await services.passwords.matches(body.password, password_hash)
    if user is None or not matches or not user.is_active:
        raise BadCredentials
    async with services.pool.acquire() as conn, conn.transaction():
        session = await sessions.begin(conn, services.settings, user)
    return ok(SessionView.model_validate(session))


@public.post("/refresh", responses=answers(BadToken))
async def refresh(pool: PoolDep, settings: SettingsDep, body: Refresh) -> Answer[SessionView]:
    """Spend a refresh token for new tokens. To spend one twice revokes its whole family."""
    session = await sessions.renew(pool, settings, body.refresh_token)
    return ok(SessionView.model_validate(session))


@public.post("/logout")
async def logout(pool: PoolDep, body: Refresh) -> Answer[None]:
    """Revoke a refresh token and its family; the access token ends by itself."""
    await sessions.end(pool, body.refresh_token)
    return ok(None)


@private.get("/me", responses=answers(NotFound))
async def me(pool: PoolDep, caller: CurrentUser) -> Answer[UserView]:
    """Who is signed in."""
    async with pool.acquire() as conn:
        user = await users.by_id(conn, caller.user_id)
    if user is None:
        raise NotFound(what="user")
    return ok(UserView.model_validate(user))
