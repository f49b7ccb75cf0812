"""The parameters that routes share: who may call them, services, and ids in paths.

The type of a route's caller says who may call it: `RequireRole` checks that before the route runs.
"""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request

from api.http.authorization import RequireRole
from api.http.read_routing import ReadRouting
from api.http.services import Services
from core.clock import Clock
from core.enums import UserRole
from core.ids import DeviceId, ListingId, UserId
from core.settings import ApiSettings
from core.tokens import Identity
from db.pool import Pool


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _pool(request: Request) -> Pool:
    return (await _services(request)).pool


async def _reads(request: Request) -> ReadRouting:
    return (await _services(request)).reads


async def _settings(request: Request) -> ApiSettings:
    return (await _services(request)).settings


async def _clock(request: Request) -> Clock:
    return (await _services(request)).clock


async def _client_host(request: Request) -> str:
    return request.client.host if request.client else "unknown"


ServicesDep = Annotated[Services, Depends(_services)]
PoolDep = Annotated[Pool, Depends(_pool)]
# For reads that change nothing: a replica may answer them.
ReadRoutingDep = Annotated[ReadRouting, Depends(_reads)]
SettingsDep = Annotated[ApiSettings, Depends(_settings)]
ClockDep = Annotated[Clock, Depends(_clock)]
# The address of the client, as trusted proxies report it.
ClientHost = Annotated[str, Depends(_client_host)]

CurrentUser = Annotated[Identity, Depends(RequireRole())]
Host = Annotated[Identity, Depends(RequireRole(UserRole.HOST))]
Investor = Annotated[Identity, Depends(RequireRole(UserRole.INVESTOR))]
Admin = Annotated[Identity, Depends(RequireRole(UserRole.ADMIN))]
# The roles that have a wallet.
_MEMBERS = (UserRole.BUYER, UserRole.HOST, UserRole.INVESTOR)
Member = Annotated[Identity, Depends(RequireRole(*_MEMBERS))]
# Everybody who may buy: the same roles. The database function of a purchase refuses deactivated
# users itself.
Buyer = Annotated[Identity, Depends(RequireRole(*_MEMBERS, check_active=False))]

Id = Annotated[UUID, Path(description="Unique id, as the response that named it gave it")]
DevicePathId = Annotated[DeviceId, Path(description="Unique id of the device")]
ListingPathId = Annotated[ListingId, Path(description="Unique id of the listing")]
UserPathId = Annotated[UserId, Path(description="Unique id of the user")]
