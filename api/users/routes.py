"""Routes of users: register, sign in, refresh, sign out; the user's own profile and password."""

from typing import Annotated, Literal

from pydantic import EmailStr, Field, StringConstraints

from api.http import routing
from api.http.dependencies import ClientHost, CurrentUser, PoolDep, ServicesDep, SettingsDep
from api.http.envelope import Answer, created, ok
from api.http.errors import answers
from api.http.fields import Body, KwhOrNone, Name, PricePerKwh, without_default
from api.users import service as users_service
from api.users import sign_ins
from api.users.passwords import NewPassword, Password
from api.users.service import NewUser
from api.users.views import SessionView, UserView
from core.enums import UserRole
from core.errors import BadCredentials, BadToken, EmailTaken, NotFound, QuotaExceeded, TooMany
from db import users

public = routing.public("/auth", "auth")
private = routing.private("/auth", "auth")

Email = Annotated[
    EmailStr,
    Field(
        max_length=254,
        description="Email address to sign in with; upper and lower case are the same",
        examples=["asha@example.org"],
    ),
]
FullName = Annotated[
    Name, Field(description="Name of the user as other users see it", examples=["Asha Rao"])
]
Phone = Annotated[
    str,
    StringConstraints(pattern=r"^\+?[0-9][0-9 ()-]{4,24}$"),
    Field(description="Telephone number with its country code", examples=["+91 98450 12345"]),
]
RefreshToken = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$"),
    Field(examples=["kW1bQ0pQ2p2Vn6Yk6yM1nqkq3vX8m1O2c3J4h5G6f7E"]),
]


class Registration(Body):
    email: Email
    password: NewPassword
    full_name: FullName
    role: Annotated[
        Literal["buyer", "host", "investor"],
        Field(description="Role of the user, which decides what the user may do"),
    ]
    phone: Phone | None = None

    def user(self) -> NewUser:
        role = UserRole(self.role)
        return NewUser(self.email, self.password, self.full_name, role, self.phone)


class Login(Body):
    email: Email
    password: Password


class Refresh(Body):
    refresh_token: RefreshToken


class SignInCode(Body):
    code: Annotated[RefreshToken, Field(description="Code of a sign-in link, good for one use")]


class ProfileChange(Body):
    """The fields to change. Fields that are not given stay as they are; null clears a field."""

    # The default is never read: only fields that were sent are changed.
    full_name: Annotated[FullName, Field(json_schema_extra=without_default)] = ""
    phone: Phone | None = None
    property_name: Annotated[
        Name | None, Field(description="Name of a host's home", examples=["Lotus House"])
    ] = None
    tariff_per_kwh: Annotated[
        PricePerKwh | None, Field(description="Grid tariff of a host's home in INR per kWh")
    ] = None
    monthly_demand_kwh: Annotated[
        KwhOrNone | None,
        Field(
            description="Energy that a buyer's home needs in a month, in kWh",
            examples=["250.000"],
        ),
    ] = None
    company: Annotated[
        Name | None,
        Field(description="Company for which an investor invests", examples=["Sunrise Capital"]),
    ] = None


class PasswordChange(Body):
    current_password: Annotated[Password, Field(description="Password of the user until now")]
    new_password: NewPassword


@public.post(
    "/register",
    status_code=201,
    response_description="The new user, signed in",
    responses=answers(EmailTaken, TooMany),
)
async def register(
    services: ServicesDep, host: ClientHost, body: Registration
) -> Answer[SessionView]:
    """Register a user and sign in.

    The user gets an empty wallet. Nobody can register as an administrator.
    """
    await services.sign_in_limits.sign_in("register", host=host, email=body.email)
    session = await users_service.register(services, body.user())
    return created(SessionView.of(session))


@public.post(
    "/login",
    response_description="The user and the tokens of the sign-in",
    responses=answers(BadCredentials, QuotaExceeded, TooMany),
)
async def login(services: ServicesDep, host: ClientHost, body: Login) -> Answer[SessionView]:
    """Sign in with email and password.

    An unknown email and a wrong password get the same answer in the same time.
    """
    await services.sign_in_limits.sign_in("login", host=host, email=body.email)
    session = await users_service.login(services, body.email, body.password)
    return ok(SessionView.of(session))


@public.post(
    "/code",
    response_description="The user and the tokens of the sign-in",
    responses=answers(BadToken, QuotaExceeded),
)
async def sign_in_by_code(
    pool: PoolDep, settings: SettingsDep, body: SignInCode
) -> Answer[SessionView]:
    """Sign in with the code of a sign-in link.

    The operator of the hub makes such links. Each code works once.
    """
    session = await sign_ins.sign_in_once(pool, settings, body.code)
    return ok(SessionView.of(session))


@public.post(
    "/refresh",
    response_description="The user and new tokens",
    responses=answers(BadToken, TooMany),
)
async def refresh(services: ServicesDep, body: Refresh) -> Answer[SessionView]:
    """Exchange a refresh token for new tokens.

    A refresh token is good for one use. A second use revokes all tokens of the sign-in.
    """
    session = await sign_ins.renew(
        services.pool, services.settings, services.write_limits, body.refresh_token
    )
    return ok(SessionView.of(session))


@public.post("/logout", response_description="Confirmation without data")
async def logout(pool: PoolDep, body: Refresh) -> Answer[None]:
    """Sign out: revoke the refresh tokens of the sign-in.

    The access token stays valid until it expires.
    """
    await sign_ins.end(pool, body.refresh_token)
    return ok(None)


@private.get("/me", response_description="The user who is signed in", responses=answers(NotFound))
async def me(pool: PoolDep, caller: CurrentUser) -> Answer[UserView]:
    """Get the user who is signed in."""
    async with pool.acquire() as conn:
        user = await users.by_id(conn, caller.user_id)
    if user is None:
        raise NotFound(what="user")
    return ok(UserView.of(user))


@private.patch("/me", response_description="The user after the change")
async def change_me(pool: PoolDep, caller: CurrentUser, body: ProfileChange) -> Answer[UserView]:
    """Change the name, the phone number or the profile of the user who is signed in.

    Only the fields of the user's own role can change.
    """
    changes = {field: getattr(body, field) for field in body.model_fields_set}
    user = await users_service.change(pool, caller, changes)
    return ok(UserView.of(user))


@private.post(
    "/change-password",
    response_description="Confirmation without data",
    responses=answers(BadCredentials, TooMany),
)
async def change_password(
    services: ServicesDep, caller: CurrentUser, body: PasswordChange
) -> Answer[None]:
    """Change the password, and end every sign-in of the user.

    All refresh tokens are revoked. Access tokens stay valid until they expire.
    """
    await services.sign_in_limits.password_change(caller.user_id)
    await users_service.change_password(services, caller, body.current_password, body.new_password)
    return ok(None)
