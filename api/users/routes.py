"""Routes: register, sign in, stay signed in, sign out; one's own account."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, EmailStr, Field, StringConstraints

from api.http import routing
from api.http.dependencies import ClientHost, CurrentUser, PoolDep, ServicesDep, SettingsDep
from api.http.envelope import Answer, created, ok
from api.http.errors import answers
from api.http.fields import (
    Body,
    KwhOrNone,
    Name,
    PricePerKwh,
    Printable,
    ShownInstant,
    ShownKwh,
    ShownPrice,
    View,
    without_default,
)
from api.users import service as users_service
from api.users import sign_ins
from api.users.passwords import PASSWORD_MAX_BYTES
from api.users.sign_ins import SignIn
from core.enums import UserRole
from core.errors import (
    BadCredentials,
    BadToken,
    EmailTaken,
    NotFound,
    QuotaExceeded,
    TooMany,
)
from db import users
from db.errors import refusals
from db.users import User

PASSWORD_MIN_BYTES = 10

public = routing.public("/auth", "auth")
private = routing.private("/auth", "auth")


def _encodable(value: str) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:  # half a surrogate pair, as JSON may escape it
        raise ValueError("must be text") from None
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


class SignInCode(Body):
    code: Annotated[RefreshToken, Field(description="As the sign-in link has it; good for one use")]


class AccountChange(Body):
    """Only what is given changes; null takes back what may be unknown."""

    full_name: Annotated[Name, Field(examples=["Asha Rao"], json_schema_extra=without_default)] = ""
    phone: Phone | None = None
    property_name: Annotated[
        Name | None, Field(description="A host's", examples=["Lotus House"])
    ] = None
    tariff_per_kwh: Annotated[
        PricePerKwh | None, Field(description="A host's grid tariff, INR per kWh")
    ] = None
    monthly_demand_kwh: Annotated[
        KwhOrNone | None, Field(description="A buyer's, kWh", examples=["250.000"])
    ] = None
    company: Annotated[
        Name | None, Field(description="An investor's", examples=["Sunrise Capital"])
    ] = None


class PasswordChange(Body):
    current_password: Annotated[Password, Field(description="The one until now")]
    new_password: NewPassword


class HostProfile(View):
    property_name: Annotated[
        str | None, Field(description="What the home is called", examples=["Lotus House"])
    ]
    tariff_per_kwh: ShownPrice | None


class BuyerProfile(View):
    monthly_demand_kwh: ShownKwh | None


class InvestorProfile(View):
    company: Annotated[
        str | None, Field(description="Whom they invest for", examples=["Sunrise Capital"])
    ]


class UserView(View):
    id: UUID
    email: str
    full_name: str
    phone: str | None
    role: Annotated[str, Field(examples=["host"])]
    is_active: bool
    created_at: ShownInstant
    profile: Annotated[
        HostProfile | BuyerProfile | InvestorProfile | None,
        Field(description="What the role adds; an admin has none"),
    ]

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(
            id=user.id,
            email=user.email,
            full_name=user.full_name,
            phone=user.phone,
            role=user.role,
            is_active=user.is_active,
            created_at=user.created_at,
            profile=_profile(user),
        )


class SessionView(View):
    user: UserView
    access_token: Annotated[str, Field(description="JWT, for `Authorization: Bearer …`")]
    refresh_token: Annotated[str, Field(description="For `/auth/refresh`, once")]
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: Annotated[int, Field(description="Seconds that the access token is good for")]

    @classmethod
    def of(cls, session: SignIn) -> Self:
        return cls(
            user=UserView.of(session.user),
            access_token=session.access_token,
            refresh_token=session.refresh_token,
            expires_in=session.expires_in_s,
        )


@public.post("/register", status_code=201, responses=answers(EmailTaken, TooMany))
async def register(
    services: ServicesDep, host: ClientHost, body: Registration
) -> Answer[SessionView]:
    """Make an account of a role, with its empty wallet, and sign in."""
    await services.sign_in_limits.sign_in("register", host=host, email=body.email)
    password_hash = await services.passwords.hash(body.password)
    async with services.pool.acquire() as conn, conn.transaction():
        with refusals():
            user = await users.create(
                conn,
                email=body.email,
                password_hash=password_hash,
                full_name=body.full_name,
                phone=body.phone,
                role=UserRole(body.role),
            )
        session = await sign_ins.begin(conn, services.settings, user)
    return created(SessionView.of(session))


@public.post("/login", responses=answers(BadCredentials, QuotaExceeded, TooMany))
async def login(services: ServicesDep, host: ClientHost, body: Login) -> Answer[SessionView]:
    """Sign in. A wrong email and a wrong password get the same answer in the same time."""
    await services.sign_in_limits.sign_in("login", host=host, email=body.email)
    async with services.pool.acquire() as conn:
        user = await users.by_email(conn, body.email)
    password_hash = user.password_hash if user else None
    matches = await services.passwords.matches(body.password, password_hash)
    if user is None or not matches or not user.is_active:
        raise BadCredentials
    session = await sign_ins.sign_in(services.pool, services.settings, user)
    return ok(SessionView.of(session))


@public.post("/code", responses=answers(BadToken, QuotaExceeded))
async def sign_in_by_code(
    pool: PoolDep, settings: SettingsDep, body: SignInCode
) -> Answer[SessionView]:
    """Sign in by the code of a sign-in link, which its operator printed; it works once."""
    session = await sign_ins.sign_in_once(pool, settings, body.code)
    return ok(SessionView.of(session))


@public.post("/refresh", responses=answers(BadToken, TooMany))
async def refresh(services: ServicesDep, body: Refresh) -> Answer[SessionView]:
    """Spend a refresh token for new tokens. To spend one twice revokes its whole family."""
    session = await sign_ins.renew(
        services.pool, services.settings, services.write_limits, body.refresh_token
    )
    return ok(SessionView.of(session))


@public.post("/logout")
async def logout(pool: PoolDep, body: Refresh) -> Answer[None]:
    """Revoke a refresh token and its family; the access token ends by itself."""
    await sign_ins.end(pool, body.refresh_token)
    return ok(None)


@private.get("/me", responses=answers(NotFound))
async def me(pool: PoolDep, caller: CurrentUser) -> Answer[UserView]:
    """Who is signed in."""
    async with pool.acquire() as conn:
        user = await users.by_id(conn, caller.user_id)
    if user is None:
        raise NotFound(what="user")
    return ok(UserView.of(user))


@private.patch("/me")
async def change_me(pool: PoolDep, caller: CurrentUser, body: AccountChange) -> Answer[UserView]:
    """Change one's name, phone, and what the own role adds."""
    wanted = {field: getattr(body, field) for field in body.model_fields_set}
    user = await users_service.change(pool, caller, wanted)
    return ok(UserView.of(user))


@private.post("/change-password", responses=answers(BadCredentials, TooMany))
async def change_password(
    services: ServicesDep, caller: CurrentUser, body: PasswordChange
) -> Answer[None]:
    """Change one's password, and end every sign-in: access tokens end by themselves."""
    await services.sign_in_limits.password_change(caller.user_id)
    await users_service.change_password(services, caller, body.current_password, body.new_password)
    return ok(None)


def _profile(user: User) -> HostProfile | BuyerProfile | InvestorProfile | None:
    match user.role:
        case UserRole.HOST:
            return HostProfile.model_validate(user)
        case UserRole.BUYER:
            return BuyerProfile.model_validate(user)
        case UserRole.INVESTOR:
            return InvestorProfile.model_validate(user)
        case _:
            return None
