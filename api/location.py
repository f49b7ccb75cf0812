"""Routes: where the caller is, and what is near."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import Query
from pydantic import AliasChoices, BaseModel, Field, model_validator

from api import routing
from api.cursors import NEAREST, PageQuery, PartBefore
from api.deps import CurrentUser, PoolDep
from api.envelope import Answer, Page, ok
from api.errors import answers
from api.fields import (
    Body,
    KwhOrNone,
    Latitude,
    Longitude,
    Name,
    PricePerKwh,
    QueryLatitude,
    QueryLongitude,
    ShownInstant,
    View,
    check_whole_place,
)
from api.shown import ListingView
from core.errors import NoLocation
from core.geo import search_boxes
from db import addresses, nearby
from db.nearby import Circle, NearbyListing
from db.pool import Connection

router = routing.private("/location", "location")


class Position(Body):
    latitude: Annotated[Latitude, Field(validation_alias=AliasChoices("latitude", "lat"))]
    longitude: Annotated[Longitude, Field(validation_alias=AliasChoices("longitude", "lon"))]
    label: Annotated[Name | None, Field(examples=["home"])] = None


class AddressView(View):
    id: UUID
    label: str
    latitude: float
    longitude: float
    is_default: bool
    created_at: ShownInstant


class Around(PageQuery):
    """A circle: around `lat`, `lon`, or around the caller's default address."""

    radius_km: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False, examples=[5])]
    lat: QueryLatitude | None = None
    lon: QueryLongitude | None = None
    cursor: Annotated[PartBefore, NEAREST.form] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        check_whole_place(lat=self.lat, lon=self.lon)
        return self


class AroundListings(Around):
    min_kwh: KwhOrNone | None = None
    max_price: PricePerKwh | None = None


class SellerView(BaseModel):
    id: UUID
    full_name: str


class SellersDeviceView(BaseModel):
    id: UUID
    name: str
    kind: str


class NearbyListingView(ListingView):
    distance_km: Annotated[float, Field(description="Great circle, 3 decimals", examples=[1.204])]
    seller: SellerView
    device: SellersDeviceView | None


@router.put("/update")
async def update_location(
    pool: PoolDep, caller: CurrentUser, body: Position
) -> Answer[AddressView]:
    """Set the caller's default address: where things are looked for, and offered from."""
    async with pool.acquire() as conn, conn.transaction():
        address = await addresses.set_default(
            conn,
            caller.user_id,
            label=body.label,
            latitude=body.latitude,
            longitude=body.longitude,
        )
    return ok(AddressView.model_validate(address))


@router.get("/nearby-listings", responses=answers(NoLocation))
async def nearby_listings(
    pool: PoolDep, caller: CurrentUser, query: Annotated[AroundListings, Query()]
) -> Answer[Page[NearbyListingView]]:
    """Active listings by distance, with seller and device."""
    after = NEAREST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await nearby.listings(
            conn,
            await _circle(conn, caller.user_id, query),
            min_kwh=query.min_kwh,
            max_price=query.max_price,
            after=after,
            limit=query.limit + 1,
        )
    return ok(
        NEAREST.page(
            found, query.limit, key=lambda near: (near.distance_km, near.listing.id), show=_shown
        )
    )


async def _circle(conn: Connection, user_id: UUID, around: Around) -> Circle:
    """Raises NoLocation."""
    latitude, longitude = around.lat, around.lon
    if latitude is None or longitude is None:
        home = await addresses.default_of(conn, user_id)
        if home is None:
            raise NoLocation
        latitude, longitude = home.latitude, home.longitude
    boxes = search_boxes(latitude, longitude, around.radius_km)
    return Circle(latitude, longitude, around.radius_km, boxes)


def _shown(near: NearbyListing) -> NearbyListingView:
    listing = near.listing
    device = None
    if listing.device_id and near.device_name and near.device_kind:
        device = SellersDeviceView(
            id=listing.device_id, name=near.device_name, kind=near.device_kind
        )
    return NearbyListingView(
        **dict(ListingView.model_validate(listing)),
        distance_km=round(near.distance_km, 3),
        seller=SellerView(id=listing.seller_id, full_name=near.seller_name),
        device=device,
    )
