"""Routes of listings: create, list, get, change, cancel."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import Query
from pydantic import Field, model_validator
from starlette.responses import Response

from api.http import routing
from api.http.cursors import LISTED, PageQuery, PartBefore
from api.http.dependencies import (
    ClockDep,
    CurrentUser,
    Host,
    ListingPathId,
    PoolDep,
    ReadRoutingDep,
    SettingsDep,
)
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import (
    Body,
    Flag,
    Instant,
    JsonNumber,
    KwhOrNone,
    ListedKwh,
    ListedKwhOrNone,
    OptionalLatitude,
    OptionalLongitude,
    PricePerKwh,
    check_together,
)
from api.listings import service as listings_service
from api.listings.service import ListingRequest
from api.listings.views import ListingStatus, ListingView, Pricing
from core import enums, errors
from core.errors import (
    CapacityNotApproved,
    DeviceFlagged,
    DeviceFrozen,
    Forbidden,
    IllegalMove,
    NoLocation,
    NotFound,
    OpenListingExists,
    QuotaExceeded,
)
from core.ids import DeviceId, UserId
from core.listings import ListingPatch, check_price, check_window
from db import listing_pages, listings
from db.listing_pages import Listed, ListingFilter

router = routing.private("/marketplace", "marketplace")

_PRICE = "Price in INR per kWh; a dynamic price replaces it at the next 15-minute slot"


class NewListing(Body):
    energy_amount_kwh: Annotated[
        ListedKwhOrNone,
        Field(description="Energy on offer in kWh; may be 0 with `auto_adjust`"),
    ] = Decimal(0)
    price_per_kwh: Annotated[PricePerKwh, Field(description=_PRICE)]
    available_from: Annotated[
        Instant,
        Field(
            description="Time from which the listing sells, RFC 3339 with its zone",
            examples=["2026-03-01T06:30:00Z"],
        ),
    ]
    available_to: Annotated[
        Instant,
        Field(
            description="Time until which the listing sells, RFC 3339 with its zone",
            examples=["2099-12-31T18:30:00Z"],
        ),
    ]
    device_id: Annotated[
        DeviceId | None, Field(description="Unique id of a device of the host")
    ] = None
    auto_adjust: Annotated[
        Flag, Field(description="true: offer the energy that the device measures")
    ] = False
    pricing: Pricing = "fixed"
    price_floor: PricePerKwh | None = None
    price_cap: PricePerKwh | None = None
    reserve_soc_pct: Annotated[
        float | None,
        Field(
            ge=0,
            le=100,
            allow_inf_nan=False,
            description="Sell nothing while the battery is charged less than this, in %",
            examples=[20],
        ),
        JsonNumber,
    ] = None
    latitude: OptionalLatitude = None
    longitude: OptionalLongitude = None
    exact_location: Annotated[
        Flag,
        Field(description="true: show everybody the exact place; else it is rounded to 0.01°"),
    ] = False

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        check_together(latitude=self.latitude, longitude=self.longitude)
        return self

    def to_request(self, now: datetime) -> ListingRequest:
        """Return the request for the service. Raises Invalid."""
        check_window(self.available_from, self.available_to, now)
        pricing = enums.Pricing(self.pricing)
        check_price(self.price_per_kwh, pricing, self.price_floor, self.price_cap)
        if self.auto_adjust and self.device_id is None:
            raise errors.Invalid(field="device_id", allowed="is required with auto_adjust")
        if not self.auto_adjust and self.energy_amount_kwh == 0:
            raise errors.Invalid(field="energy_amount_kwh", allowed="must be greater than 0")
        place = None
        if self.latitude is not None and self.longitude is not None:
            place = self.latitude, self.longitude
        fields = self.model_dump(exclude={"latitude", "longitude", "pricing"})
        return ListingRequest(**fields, pricing=pricing, place=place)


class ListingChange(Body):
    """The fields to change. Fields that are not given, or null, stay as they are."""

    price_per_kwh: Annotated[PricePerKwh | None, Field(description=_PRICE)] = None
    energy_amount_kwh: Annotated[
        ListedKwh | None,
        Field(description="Energy to be left, in kWh; fixed for a listing with `auto_adjust`"),
    ] = None
    available_from: Instant | None = None
    available_to: Instant | None = None
    status: Annotated[
        Literal["active", "paused"] | None,
        Field(description="`paused`: stop selling; `active`: resume selling"),
    ] = None


class ListingQuery(PageQuery):
    status: Annotated[ListingStatus | None, Field(description="Only listings with this status")] = (
        None
    )
    seller_id: Annotated[UserId | None, Field(description="Only listings of this seller")] = None
    device_id: Annotated[DeviceId | None, Field(description="Only listings of this device")] = None
    min_kwh: Annotated[
        KwhOrNone | None, Field(description="Only listings with at least so much left, in kWh")
    ] = None
    max_price: Annotated[
        PricePerKwh | None, Field(description="Only listings up to this price in INR per kWh")
    ] = None
    sort: Annotated[
        Literal["created_at", "price_per_kwh"],
        Field(description="`created_at`: newest first; `price_per_kwh`: cheapest first"),
    ] = "created_at"
    cursor: Annotated[PartBefore, LISTED.form] | None = None


@router.post(
    "/listings", status_code=201, response_description="The listing that was created",
    responses=answers(
        Forbidden, NotFound, NoLocation, OpenListingExists, QuotaExceeded, CapacityNotApproved,
        DeviceFrozen, DeviceFlagged,
    ),
)  # fmt: skip
async def create_listing(
    pool: PoolDep, settings: SettingsDep, clock: ClockDep, host: Host, body: NewListing
) -> Answer[ListingView]:
    """Create a listing.

    It offers a stated amount of energy, or with `auto_adjust` the energy that a device measures.
    Its place is the given one, else the place of the device, else the default address.
    """
    listing = await listings_service.create(
        pool,
        host,
        body.to_request(clock.now()),
        quota_open_listings=settings.quota_open_listings,
        rules=settings.selling_rules,
    )
    return created(ListingView.for_user(host.user_id, listing))


@router.get(
    "/listings",
    response_model=Answer[Page[ListingView]],
    response_description="A page of listings",
)
async def list_listings(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[ListingQuery, Query()]
) -> Response:
    """List listings, newest or cheapest first.

    Listings of the user have their exact place, those of others the place that is public.
    """
    status = enums.ListingStatus(query.status) if query.status else None
    where = ListingFilter(status, query.seller_id, query.device_id, query.min_kwh, query.max_price)
    limit = query.limit
    created_at, price, last_id = LISTED.read(query.cursor)
    if query.sort == "price_per_kwh":
        found = await reads.run(
            lambda conn: listing_pages.cheapest(
                conn, where, reader_id=caller.user_id, after=(price, last_id), limit=limit + 1
            )
        )
    else:
        found = await reads.run(
            lambda conn: listing_pages.newest(
                conn, where, reader_id=caller.user_id, before=(created_at, last_id), limit=limit + 1
            )
        )
    return LISTED.written(found, limit, key=_sort_key)


@router.get(
    "/listings/{listing_id}",
    response_description="The requested listing",
    responses=answers(NotFound),
)
async def get_listing(
    reads: ReadRoutingDep, caller: CurrentUser, listing_id: ListingPathId
) -> Answer[ListingView]:
    """Get a listing.

    The seller gets its exact place, others the place that is public.
    """
    listing = await reads.run(lambda conn: listings.by_id(conn, listing_id))
    if listing is None:
        raise NotFound(what="listing")
    return ok(ListingView.for_user(caller.user_id, listing))


@router.patch(
    "/listings/{listing_id}",
    response_description="The listing after the change",
    responses=answers(Forbidden, NotFound, IllegalMove),
)
async def change_listing(
    pool: PoolDep,
    settings: SettingsDep,
    clock: ClockDep,
    caller: CurrentUser,
    listing_id: ListingPathId,
    body: ListingChange,
) -> Answer[ListingView]:
    """Change the price, the amount or the times of a listing, pause or resume it.

    Only the seller may.
    """
    listing = await listings_service.change(
        pool, caller, listing_id, ListingPatch(**body.model_dump()), settings.selling_rules, clock
    )
    return ok(ListingView.for_user(caller.user_id, listing))


@router.delete(
    "/listings/{listing_id}",
    response_description="The listing, now cancelled",
    responses=answers(Forbidden, NotFound, IllegalMove),
)
async def cancel_listing(
    pool: PoolDep, caller: CurrentUser, listing_id: ListingPathId
) -> Answer[ListingView]:
    """Cancel a listing for good.

    Only the seller may. What was sold of it stays sold.
    """
    listing = await listings_service.cancel(pool, caller, listing_id)
    return ok(ListingView.for_user(caller.user_id, listing))


def _sort_key(listing: Listed) -> tuple[datetime, Decimal, UUID]:
    return listing.created_at, listing.price_per_kwh, listing.id
