"""Routes: what is near."""

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field, model_validator
from starlette.responses import Response

from api.http import routing
from api.http.cursors import NEAREST, PageQuery, PartBefore
from api.http.dependencies import CurrentUser, ReadRoutingDep
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import (
    KwhOrNone,
    PricePerKwh,
    QueryLatitude,
    QueryLongitude,
    View,
    check_together,
)
from api.views import ListingView, ShownFunded, ShownShare, ShownTarget
from core.enums import UserRole
from core.errors import NoLocation
from core.geo import Circle
from core.ids import UserId
from db import addresses, nearby
from db.nearby import NearbyDevice, NearbyListing, NearbyUser
from db.pool import Connection

router = routing.private("/location", "location")

DeviceKind = Literal["inverter", "meter", "battery"]
DeviceStatus = Literal["pending", "online", "offline", "fault"]
NeighbourRole = Literal["buyer", "host", "investor"]

DistanceKm = Annotated[float, Field(description="Great circle, km, 3 decimals", examples=[1.204])]
RoughLatitude = Annotated[float, Field(description="To 0.01°", examples=[12.97])]
RoughLongitude = Annotated[float, Field(description="To 0.01°", examples=[77.59])]


class Around(PageQuery):
    """A circle: around `lat`, `lon`, or around the caller's default address."""

    radius_km: Annotated[
        float, Field(gt=0, le=100, allow_inf_nan=False, description="km", examples=[5])
    ]
    lat: QueryLatitude | None = None
    lon: QueryLongitude | None = None
    cursor: Annotated[PartBefore, NEAREST.form] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        check_together(lat=self.lat, lon=self.lon)
        return self


class AroundListings(Around):
    min_kwh: KwhOrNone | None = None
    max_price: PricePerKwh | None = None


class AroundUsers(Around):
    role: NeighbourRole | None = None


class AroundDevices(Around):
    kind: DeviceKind | None = None
    status: DeviceStatus | None = None


class PersonView(BaseModel):
    id: UUID
    full_name: str


class SellersDeviceView(BaseModel):
    id: UUID
    name: str
    kind: str


class NearbyListingView(ListingView):
    distance_km: DistanceKm
    seller: PersonView
    device: SellersDeviceView | None


class NearbyUserView(View):
    id: UUID
    full_name: str
    role: NeighbourRole
    latitude: RoughLatitude
    longitude: RoughLongitude
    distance_km: DistanceKm


class NearbyDeviceView(BaseModel):
    id: UUID
    name: str
    kind: DeviceKind
    capacity_w: Annotated[float, Field(description="Peak power, W", examples=[5000])]
    status: DeviceStatus
    latitude: Annotated[float, Field(description="To 0.01°, unless it is the caller's own")]
    longitude: Annotated[float, Field(description="To 0.01°, unless it is the caller's own")]
    distance_km: DistanceKm
    funding_target: ShownTarget
    revenue_share: ShownShare
    funded: ShownFunded
    owner: Annotated[PersonView, Field(description="Whose it is")]


@router.get(
    "/nearby-listings", responses=answers(NoLocation),
    response_model=Answer[Page[NearbyListingView]],
)  # fmt: skip
async def nearby_listings(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[AroundListings, Query()]
) -> Response:
    """Active listings by distance, with seller and device.

    They are found, measured and shown by the place that everybody is shown: to 0.01°, unless their
    sellers made it public. The caller's own, too.
    """
    after = NEAREST.read(query.cursor)

    async def find(conn: Connection) -> list[NearbyListing]:
        return await nearby.listings(
            conn,
            await _circle(conn, caller.user_id, query),
            min_kwh=query.min_kwh,
            max_price=query.max_price,
            after=after,
            limit=query.limit + 1,
        )

    found = await reads.run(find)
    return NEAREST.written(found, query.limit, key=_distance_and_id)


@router.get("/nearby-users", responses=answers(NoLocation))
async def nearby_users(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[AroundUsers, Query()]
) -> Answer[Page[NearbyUserView]]:
    """People with a default address, by distance.

    Homes are private: they are found, measured and shown by their place to 0.01°.
    """
    after = NEAREST.read(query.cursor)

    async def find(conn: Connection) -> list[NearbyUser]:
        return await nearby.users(
            conn,
            await _circle(conn, caller.user_id, query),
            caller_id=caller.user_id,
            role=UserRole(query.role) if query.role else None,
            after=after,
            limit=query.limit + 1,
        )

    found = await reads.run(find)
    return ok(NEAREST.page(found, query.limit, key=_distance_and_id, show=_user))


@router.get("/nearby-devices", responses=answers(NoLocation))
async def nearby_devices(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[AroundDevices, Query()]
) -> Answer[Page[NearbyDeviceView]]:
    """Devices that have a place, by distance.

    They stand at homes: another one's is found, measured and shown by its place to 0.01°.
    """
    after = NEAREST.read(query.cursor)

    async def find(conn: Connection) -> list[NearbyDevice]:
        return await nearby.devices(
            conn,
            await _circle(conn, caller.user_id, query),
            caller_id=caller.user_id,
            kind=query.kind,
            status=query.status,
            after=after,
            limit=query.limit + 1,
        )

    found = await reads.run(find)
    return ok(NEAREST.page(found, query.limit, key=_distance_and_id, show=_device))


async def _circle(conn: Connection, user_id: UserId, around: Around) -> Circle:
    """Raises NoLocation."""
    latitude, longitude = around.lat, around.lon
    if latitude is None or longitude is None:
        home = await addresses.default_of(conn, user_id)
        if home is None:
            raise NoLocation
        latitude, longitude = home.latitude, home.longitude
    return Circle(latitude, longitude, around.radius_km)


def _distance_and_id(near: NearbyListing | NearbyUser | NearbyDevice) -> tuple[float, UUID]:
    return near.distance_km, near.id


def _user(near: NearbyUser) -> NearbyUserView:
    shown = NearbyUserView.model_validate(near)
    return shown.model_copy(update={"distance_km": round(near.distance_km, 3)})


def _device(near: NearbyDevice) -> NearbyDeviceView:
    return NearbyDeviceView.model_validate(
        {
            "id": near.id,
            "name": near.name,
            "kind": near.kind,
            "capacity_w": near.capacity_w,
            "status": near.status,
            "latitude": near.latitude,
            "longitude": near.longitude,
            "distance_km": round(near.distance_km, 3),
            "funding_target": near.funding_target,
            "revenue_share": near.revenue_share,
            "funded": near.funded,
            "owner": {"id": near.owner_id, "full_name": near.owner_name},
        }
    )
