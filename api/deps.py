"""What routes ask for: who may call one can be read in its signature."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.metrics import ApiMetrics
from api.middleware import sign_in_to_log
from api.passwords import Passwords
from api.redis import RedisLink
from api.sandbox import Sandbox
from core import tokens
from core.errors import BadToken, Forbidden
from core.settings import ApiSettings
from core.tokens import Identity
from db.pool import Pool


@dataclass(frozen=True, slots=True)
class Services:
    """What the process has: made by the app's lifespan."""

    settings: ApiSettings
    pool: Pool
    redis: RedisLink
    passwords: Passwords
    sandbox: Sandbox
    metrics: ApiMetrics


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def _pool(services: ServicesDep) -> Pool:
    return services.pool


async def _settings(services: ServicesDep) -> ApiSettings:
    return services.settings


PoolDep = Annotated[Pool, Depends(_pool)]
SettingsDep = Annotated[ApiSettings, Depends(_settings)]

_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="An access token")


async def _current_user(
    services: ServicesDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Identity:
    if bearer is None:
        raise BadToken
    secret = services.settings.jwt_secret.get_secret_value()
    identity = tokens.verify(secret, bearer.credentials, now=datetime.now(UTC))
    sign_in_to_log(identity.user_id)
    return identity


CurrentUser = Annotated[Identity, Depends(_current_user)]


async def _host(user: CurrentUser) -> Identity:
    if user.role != "host":
        raise Forbidden
    return user


async def _trader(user: CurrentUser) -> Identity:
    if user.role == "admin":
        raise Forbidden
    return user


Host = Annotated[Identity, Depends(_host)]
# Everyone who has a wallet: buyers, hosts, investors.
Buyer = Annotated[Identity, Depends(_trader)]
Member = Buyer

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Names this request: sent again with the same key, it takes effect once",
        examples=["7b0c1f9e-order-41"],
    ),
]
Id = Annotated[UUID, Path(description="Its id")]
