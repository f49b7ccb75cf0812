"""What routes ask for: who may call one can be read in its signature."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase

from api.admin.audits import Audits
from api.http.active_users import ActiveUsersCheck
from api.http.bearer import identity_of
from api.http.database_trouble import DatabaseTrouble
from api.http.metrics import ApiMetrics
from api.http.middleware import sign_in
from api.http.rate_limits import RateLimits
from api.http.read_routing import ReadRouting
from api.http.redis import RedisLink
from api.http.write_limits import WriteLimits
from api.payments.providers import PaymentProviders
from api.purchases.service import PurchaseBatcher
from api.users.passwords import Passwords
from core.enums import UserRole
from core.errors import AccountInactive, Forbidden
from core.ids import DeviceId, ListingId, UserId
from core.settings import ApiSettings
from core.tokens import Identity, Verifier
from db.pool import Pool

_LOOKING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Services:
    """What the process has: made by the app's lifespan."""

    settings: ApiSettings
    pool: Pool
    trouble: DatabaseTrouble
    admission: ActiveUsersCheck
    reads: ReadRouting
    till: PurchaseBatcher
    redis: RedisLink
    passwords: Passwords
    tokens: Verifier
    rate_limits: RateLimits
    writes: WriteLimits
    audits: Audits
    providers: PaymentProviders
    metrics: ApiMetrics


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _pool(request: Request) -> Pool:
    return (await _services(request)).pool


async def _reads(request: Request) -> ReadRouting:
    return (await _services(request)).reads


async def _settings(request: Request) -> ApiSettings:
    return (await _services(request)).settings


class SignedIn(SecurityBase):
    """Who asks, by the access token; of these roles only, if any are named.

    Who was deactivated since it was signed is shut out at once. `looked_up` False leaves it to
    the route to find that out.

    One dependency where the framework's own way would be four: each costs every request.
    """

    def __init__(self, *roles: str, looked_up: bool = True) -> None:
        self.model = HTTPBearerModel(bearerFormat="JWT", description="An access token")
        self.scheme_name = "accessToken"
        self.roles = roles
        self._looked_up = looked_up

    async def __call__(self, request: Request) -> Identity:
        """Raises BadToken, ExpiredToken, TooMany, AccountInactive, Forbidden."""
        services = await _services(request)
        identity = identity_of(request.scope)
        sign_in(request.scope, identity.user_id)
        if request.method not in _LOOKING:
            services.writes.count(identity.user_id)
        if self._looked_up and not await services.admission.may_act(identity.user_id):
            raise AccountInactive
        if self.roles and identity.role not in self.roles:
            raise Forbidden
        services.metrics.active_users.seen(identity.user_id)
        return identity


async def _client_host(request: Request) -> str:
    return request.client.host if request.client else "unknown"


ServicesDep = Annotated[Services, Depends(_services)]
PoolDep = Annotated[Pool, Depends(_pool)]
# For what is only looked at.
ReadRoutingDep = Annotated[ReadRouting, Depends(_reads)]
SettingsDep = Annotated[ApiSettings, Depends(_settings)]
# Where a request comes from, as far as trusted proxies tell.
ClientHost = Annotated[str, Depends(_client_host)]

CurrentUser = Annotated[Identity, Depends(SignedIn())]
Host = Annotated[Identity, Depends(SignedIn(UserRole.HOST))]
Investor = Annotated[Identity, Depends(SignedIn(UserRole.INVESTOR))]
Admin = Annotated[Identity, Depends(SignedIn(UserRole.ADMIN))]
# The roles that have a wallet.
_MEMBERS = (UserRole.BUYER, UserRole.HOST, UserRole.INVESTOR)
Member = Annotated[Identity, Depends(SignedIn(*_MEMBERS))]
# The same, of one route: its function in the database refuses who was deactivated.
Buyer = Annotated[Identity, Depends(SignedIn(*_MEMBERS, looked_up=False))]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Names this request: sent again with the same key, it takes effect once",
        examples=["7b0c1f9e-order-41"],
    ),
]
Id = Annotated[UUID, Path(description="Unique id, as the answer that named it gave it")]
DevicePathId = Annotated[DeviceId, Path(description="Unique id of the device")]
ListingPathId = Annotated[ListingId, Path(description="Unique id of the listing")]
UserPathId = Annotated[UserId, Path(description="Unique id of the user")]
