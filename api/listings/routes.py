"""Routes: energy offered."""

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
    Latitude,
    ListedKwh,
    ListedKwhOrNone,
    Longitude,
    PricePerKwh,
    check_together,
)
from api.listings import service as listings_service
from api.listings.service import Offer
from api.views import ListingStatus, ListingView, Pricing
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

_PRICE = "INR per kWh; of a dynamic listing it holds until the next 15-minute slot"


class NewListing(Body):
    energy_amount_kwh: Annotated[
        ListedKwhOrNone, Field(description="kWh; optional (0) when it follows a meter")
    ] = Decimal(0)
    price_per_kwh: Annotated[PricePerKwh, Field(description=_PRICE)]
    available_from: Annotated[Instant, Field(examples=["2026-03-01T06:30:00Z"])]
    available_to: Annotated[Instant, Field(examples=["2099-12-31T18:30:00Z"])]
    device_id: Annotated[DeviceId | None, Field(description="A device of the host's")] = None
    auto_adjust: Annotated[Flag, Field(description="Offer what the device measures")] = False
    pricing: Pricing = "fixed"
    price_floor: PricePerKwh | None = None
    price_cap: PricePerKwh | None = None
    reserve_soc_pct: Annotated[
        float | None,
        Field(
            ge=0,
            le=100,
            allow_inf_nan=False,
            description="Sell nothing below this charge, %",
            examples=[20],
        ),
        JsonNumber,
    ] = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    exact_location: Annotated[
        Flag, Field(description="Show everybody the exact place; without, it is shown to 0.01°")
    ] = False

    @model_validator(mode="after")
    def _a_whole_place(self) -> Self:
        check_together(latitude=self.latitude, longitude=self.longitude)
        return self

    def offer(self, now: datetime) -> Offer:
        """Raises Invalid."""
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
        return Offer(**self.model_dump(exclude={"latitude", "longitude"}), place=place)


class ListingChange(Body):
    """Only what is given changes."""

    price_per_kwh: Annotated[PricePerKwh | None, Field(description=_PRICE)] = None
    energy_amount_kwh: Annotated[
        ListedKwh | None,
        Field(description="What is to be left, kWh; not of one that follows a meter"),
    ] = None
    available_from: Instant | None = None
    available_to: Instant | None = None
    status: Literal["active", "paused"] | None = None


class ListingQuery(PageQuery):
    status: ListingStatus | None = None
    seller_id: UserId | None = None
    device_id: DeviceId | None = None
    min_kwh: KwhOrNone | None = None
    max_price: PricePerKwh | None = None
    sort: Annotated[
        Literal["created_at", "price_per_kwh"], Field(description="Newest or cheapest first")
    ] = "created_at"
    cursor: Annotated[PartBefore, LISTED.form] | None = None


@router.post(
    "/listings", status_code=201,
    responses=answers(
        Forbidden, NotFound, NoLocation, OpenListingExists, QuotaExceeded, CapacityNotApproved,
        DeviceFrozen, DeviceFlagged,
    ),
)  # fmt: skip
async def create_listing(
    pool: PoolDep, settings: SettingsDep, clock: ClockDep, host: Host, body: NewListing
) -> Answer[ListingView]:
    """Offer energy: an amount, or whatever a device measures."""
    listing = await listings_service.create(
        pool,
        host,
        body.offer(clock.now()),
        quota_open_listings=settings.quota_open_listings,
        rules=settings.selling_rules,
    )
    return created(ListingView.to(host.user_id, listing))


@router.get("/listings", response_model=Answer[Page[ListingView]])
async def list_listings(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[ListingQuery, Query()]
) -> Response:
    """Listings, newest or cheapest first. The caller's own are shown at their exact places."""
    status = enums.ListingStatus(query.status) if query.status else None
    where = ListingFilter(status, query.seller_id, query.device_id, query.min_kwh, query.max_price)
    limit = query.limit
    made_at, price, last_id = LISTED.read(query.cursor)
    if query.sort == "price_per_kwh":
        found = await reads.run(
            lambda conn: listing_pages.cheapest(
                conn, where, reader_id=caller.user_id, after=(price, last_id), limit=limit + 1
            )
        )
    else:
        found = await reads.run(
            lambda conn: listing_pages.newest(
                conn, where, reader_id=caller.user_id, before=(made_at, last_id), limit=limit + 1
            )
        )
    return LISTED.written(found, limit, key=_place_in_list)


@router.get("/listings/{listing_id}", responses=answers(NotFound))
async def get_listing(
    reads: ReadRoutingDep, caller: CurrentUser, listing_id: ListingPathId
) -> Answer[ListingView]:
    """One listing. Its seller is shown its exact place."""
    listing = await reads.run(lambda conn: listings.by_id(conn, listing_id))
    if listing is None:
        raise NotFound(what="listing")
    return ok(ListingView.to(caller.user_id, listing))


@router.patch("/listings/{listing_id}", responses=answers(Forbidden, NotFound, IllegalMove))
async def change_listing(
    pool: PoolDep,
    settings: SettingsDep,
    clock: ClockDep,
    caller: CurrentUser,
    listing_id: ListingPathId,
    body: ListingChange,
) -> Answer[ListingView]:
    """Change price, amount, window, or pause and resume. The seller's."""
    listing = await listings_service.change(
        pool, caller, listing_id, ListingPatch(**body.model_dump()), settings.selling_rules, clock
    )
    return ok(ListingView.to(caller.user_id, listing))


@router.delete("/listings/{listing_id}", responses=answers(Forbidden, NotFound, IllegalMove))
async def cancel_listing(
    pool: PoolDep, caller: CurrentUser, listing_id: ListingPathId
) -> Answer[ListingView]:
    """Cancel a listing for good. The seller's."""
    listing = await listings_service.cancel(pool, caller, listing_id)
    return ok(ListingView.to(caller.user_id, listing))


def _place_in_list(listing: Listed) -> tuple[datetime, Decimal, UUID]:
    return listing.created_at, listing.price_per_kwh, listing.id
