"""Routes of addresses, and of users, devices and listings near a place."""

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import Query
from pydantic import Field, model_validator
from starlette.responses import Response

from api.devices.views import DeviceKind, DeviceStatus
from api.http import routing
from api.http.cursors import NEAREST, NEWEST, PageQuery, PartBefore
from api.http.dependencies import CurrentUser, Id, PoolDep, ReadRoutingDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import (
    Body,
    Flag,
    KwhOrNone,
    Latitude,
    Longitude,
    Name,
    PricePerKwh,
    QueryLatitude,
    QueryLongitude,
    check_together,
)
from api.location import service as location_service
from api.location.service import Place
from api.location.views import (
    AddressView,
    NearbyDeviceView,
    NearbyListingView,
    NearbyUserView,
    NeighbourRole,
)
from core.enums import UserRole
from core.errors import Invalid, NoLocation, NotFound, TooManyAddresses
from core.geo import Circle
from core.ids import UserId
from db import addresses, nearby
from db.nearby import NearbyDevice, NearbyListing, NearbyUser
from db.pool import Connection

router = routing.private("/location", "location")


class PositionUpdate(Body):
    latitude: Latitude
    longitude: Longitude
    label: Annotated[Name | None, Field(description="Name of the address", examples=["home"])] = (
        None
    )

    def place(self) -> Place:
        return Place(self.latitude, self.longitude, self.label)


class NewAddress(PositionUpdate):
    is_default: Annotated[
        Flag,
        Field(
            description="true: use this address where a request names no place", examples=[False]
        ),
    ] = False


class NearbyQuery(PageQuery):
    """A circle around `lat` and `lon`, or around the default address of the user."""

    radius_km: Annotated[
        float,
        Field(
            gt=0,
            le=100,
            allow_inf_nan=False,
            description="Radius of the circle in km, great-circle distance",
            examples=[5],
        ),
    ]
    lat: QueryLatitude = None
    lon: QueryLongitude = None
    cursor: Annotated[PartBefore, NEAREST.form] | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_spelling(cls, query: Any) -> Any:
        for short, long in (("lat", "latitude"), ("lon", "longitude")):
            if short in query and long in query:
                raise Invalid(field=long, allowed=f"means the same as {short}: send only one")
        return query

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        check_together(lat=self.lat, lon=self.lon)
        return self


class NearbyListingsQuery(NearbyQuery):
    min_kwh: Annotated[
        KwhOrNone | None, Field(description="Only listings with at least so much left, in kWh")
    ] = None
    max_price: Annotated[
        PricePerKwh | None, Field(description="Only listings up to this price in INR per kWh")
    ] = None


class NearbyUsersQuery(NearbyQuery):
    role: Annotated[NeighbourRole | None, Field(description="Only users with this role")] = None


class NearbyDevicesQuery(NearbyQuery):
    kind: Annotated[DeviceKind | None, Field(description="Only devices of this kind")] = None
    status: Annotated[DeviceStatus | None, Field(description="Only devices with this status")] = (
        None
    )


@router.get(
    "/nearby-listings", responses=answers(NoLocation),
    response_model=Answer[Page[NearbyListingView]], response_description="A page of listings",
)  # fmt: skip
async def nearby_listings(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[NearbyListingsQuery, Query()]
) -> Response:
    """List active listings near a place, nearest first, with seller and device.

    Only listings that have energy left are listed. The distance is to the place that everybody
    sees: rounded to 0.01°, unless the seller made the exact place public.
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


@router.get("/nearby-users", response_description="A page of users", responses=answers(NoLocation))
async def nearby_users(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[NearbyUsersQuery, Query()]
) -> Answer[Page[NearbyUserView]]:
    """List users near a place, nearest first.

    Users with a default address are found by it. Homes are private: places are rounded to 0.01°,
    and distances are to the rounded place.
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
    return ok(NEAREST.page(found, query.limit, key=_distance_and_id, show=NearbyUserView.of))


@router.get(
    "/nearby-devices", response_description="A page of devices", responses=answers(NoLocation)
)
async def nearby_devices(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[NearbyDevicesQuery, Query()]
) -> Answer[Page[NearbyDeviceView]]:
    """List devices near a place, nearest first.

    Devices are at homes: places of other users' devices are rounded to 0.01°, and distances are
    to the rounded place.
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
    return ok(NEAREST.page(found, query.limit, key=_distance_and_id, show=NearbyDeviceView.of))


@router.put("/update", response_description="The default address after the change")
async def update_location(
    pool: PoolDep, caller: CurrentUser, body: PositionUpdate
) -> Answer[AddressView]:
    """Move the user's default address, or add it.

    Nearby routes search around it, and a new listing without a place of its own gets this one.
    """
    address = await location_service.move_default(pool, caller, body.place())
    return ok(AddressView.model_validate(address))


@router.get("/addresses", response_description="A page of addresses")
async def list_addresses(
    pool: PoolDep, caller: CurrentUser, query: Annotated[PageQuery, Query()]
) -> Answer[Page[AddressView]]:
    """List the addresses of the user, newest first."""
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await addresses.newest(conn, caller.user_id, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda address: (address.created_at, address.id),
            show=AddressView.model_validate,
        )
    )


@router.post(
    "/addresses",
    status_code=201,
    response_description="The address that was added",
    responses=answers(TooManyAddresses),
)
async def add_address(pool: PoolDep, caller: CurrentUser, body: NewAddress) -> Answer[AddressView]:
    """Add an address of the user.

    The first address becomes the default one. A new default address replaces the one before.
    """
    address = await location_service.add(pool, caller, body.place(), is_default=body.is_default)
    return created(AddressView.model_validate(address))


@router.delete(
    "/addresses/{address_id}",
    response_description="The address that was removed",
    responses=answers(NotFound),
)
async def remove_address(pool: PoolDep, caller: CurrentUser, address_id: Id) -> Answer[AddressView]:
    """Remove an address of the user.

    If it was the default one, the newest of the others becomes the default.
    """
    removed = await location_service.remove(pool, caller, address_id)
    return ok(AddressView.model_validate(removed))


async def _circle(conn: Connection, user_id: UserId, query: NearbyQuery) -> Circle:
    """Return the circle to search. Raises NoLocation."""
    latitude, longitude = query.lat, query.lon
    if latitude is None or longitude is None:
        home = await addresses.default_of(conn, user_id)
        if home is None:
            raise NoLocation
        latitude, longitude = home.latitude, home.longitude
    return Circle(latitude, longitude, query.radius_km)


def _distance_and_id(near: NearbyListing | NearbyUser | NearbyDevice) -> tuple[float, UUID]:
    return near.distance_km, near.id
