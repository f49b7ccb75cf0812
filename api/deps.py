"""What routes ask for: who may call one can be read in its signature."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param

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


async def _pool(request: Request) -> Pool:
    return (await _services(request)).pool


async def _settings(request: Request) -> ApiSettings:
    return (await _services(request)).settings


class _SignedIn(SecurityBase):
    """Who asks, by the access token; of these roles only, if any are named.

    One dependency where the framework's own way would be four: each costs every request.
    """

    def __init__(self, *roles: str) -> None:
        self.model = HTTPBearerModel(bearerFormat="JWT", description="An access token")
        self.scheme_name = "accessToken"
        self._roles = roles

    async def __call__(self, request: Request) -> Identity:
        """Raises BadToken, ExpiredToken, Forbidden."""
        scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
        if scheme.lower() != "bearer":
            raise BadToken
        secret = (await _settings(request)).jwt_secret.get_secret_value()
        identity = tokens.verify(secret, token, now=datetime.now(UTC))
        sign_in_to_log(identity.user_id)
        if self._roles and identity.role not in self._roles:
            raise Forbidden
        return identity


ServicesDep = Annotated[Services, Depends(_services)]
PoolDep = Annotated[Pool, Depends(_pool)]
SettingsDep = Annotated[ApiSettings, Depends(_settings)]

CurrentUser = Annotated[Identity, Depends(_SignedIn())]
Host = Annotated[Identity, Depends(_SignedIn("host"))]
# Who has a wallet: everyone but admins.
Member = Annotated[Identity, Depends(_SignedIn("buyer", "host", "investor"))]
Buyer = Member

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
