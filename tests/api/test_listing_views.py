"""Listings and transactions look the same, whether the API or the database writes their JSON."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from api.listings.views import ListingView
from api.location.views import NearbyListingView
from api.purchases.routes import PurchaseView, TransactionView
from core.enums import ListingStatus, PausedBy, Pricing
from core.geo import Circle
from core.ids import DeviceId, ListingId, UserId
from core.listings import Listing
from db import listings, nearby
from db.pool import Connection
from db.transactions import Transaction
from tests.support.people import Person, add_device, add_user

_ADD = """
INSERT INTO energy_listings
       (id, seller_id, device_id, stated_kwh, measured_wh, sold_kwh, price_per_kwh, status,
        paused_by, auto_adjust, pricing, price_floor, price_cap, reserve_soc_pct, exact_location,
        exact_latitude, exact_longitude, available_from, available_to, version, created_at,
        updated_at, closed_at, measured_from)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, CASE WHEN $8 IN ('expired', 'cancelled') THEN now() END, now())
"""
_DERIVED = {"energy_amount_kwh", "latitude", "longitude"}

_TEXT = "SELECT listing_text(l, $2) FROM energy_listings l WHERE id = $1"
_EVENT = "SELECT listing_json(l) FROM energy_listings l WHERE id = $1"


def decimals(digits: int, places: int, least: str = "0") -> st.SearchStrategy[Decimal]:
    most = Decimal(10**digits - 1).scaleb(-places)
    return st.decimals(Decimal(least), most, places=places)


kwh, price = decimals(12, 3), decimals(10, 4, "0.0001")
instants = st.timedeltas(timedelta(0), timedelta(days=36_500)).map(
    lambda passed: datetime(2000, 1, 1, tzinfo=UTC) + passed
)
# Any text that PostgreSQL stores: quotes, backslashes, controls, other planes; no NUL.
_SPECIAL = st.sampled_from('"\\/ \n\t\x01\x7f\u2028')
_ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
names = st.text(_SPECIAL | _ANY, max_size=20)
NOBODY, SOMEBODY = UserId(UUID(int=0)), DeviceId(UUID(int=1))


def degrees(limit: float) -> st.SearchStrategy[float]:
    return st.floats(-limit, limit).map(lambda value: round(value, 9))


@st.composite
def any_listing(draw: st.DrawFn) -> Listing:
    """A listing that the database accepts. The seller is NOBODY, the device none or SOMEBODY."""
    pricing = draw(st.sampled_from(Pricing))
    floor, asked, cap = sorted(draw(price) for _ in range(3))
    is_bounded = pricing == Pricing.DYNAMIC or draw(st.booleans())
    status = draw(st.sampled_from(ListingStatus))
    begin = draw(instants)
    return Listing(
        id=ListingId(uuid4()),
        seller_id=NOBODY,
        device_id=draw(st.none() | st.just(SOMEBODY)),
        stated_kwh=draw(decimals(8, 3)),
        measured_wh=draw(decimals(8, 3)),
        sold_kwh=draw(kwh),
        energy_amount_kwh=Decimal(0),
        price_per_kwh=asked,
        status=status,
        paused_by=draw(st.sampled_from(PausedBy)) if status == ListingStatus.PAUSED else None,
        auto_adjust=draw(st.booleans()),
        pricing=pricing,
        price_floor=floor if is_bounded else None,
        price_cap=cap if is_bounded else None,
        reserve_soc_pct=draw(st.none() | st.floats(0, 100)),
        latitude=0,
        longitude=0,
        exact_location=draw(st.booleans()),
        exact_latitude=draw(degrees(90)),
        exact_longitude=draw(degrees(180)),
        available_from=begin,
        available_to=begin + draw(st.timedeltas(timedelta(microseconds=1), timedelta(days=9))),
        version=draw(st.integers(1, 2**31 - 1)),
        created_at=draw(instants),
        updated_at=draw(instants),
    )


@asynccontextmanager
async def stored(
    conn: Connection, listing: Listing, seller: str = "Host", device: str = "Roof"
) -> AsyncIterator[Listing]:
    """Yield the listing as the database has it, which forgets it in the end."""
    transaction = conn.transaction()
    await transaction.start()
    try:
        host = await add_user(conn, "host")
        await conn.execute("UPDATE users SET full_name = $2 WHERE id = $1", host.id, seller)
        device_id = await add_named_device(conn, host, device) if listing.device_id else None
        new = replace(listing, seller_id=UserId(host.id), device_id=device_id)
        values = [getattr(new, f.name) for f in fields(Listing) if f.name not in _DERIVED]
        await conn.execute(_ADD, *values)
        found = await listings.by_id(conn, listing.id)
        assert found is not None
        yield found
    finally:
        await transaction.rollback()


async def add_named_device(conn: Connection, host: Person, name: str) -> DeviceId:
    device_id = await add_device(conn, host)
    await conn.execute("UPDATE devices SET name = $2 WHERE id = $1", device_id, name)
    return DeviceId(device_id)


def members(text: str) -> Any:
    """Parse JSON so that a comparison sees the order of members, and each number's type."""
    return json.loads(text, object_pairs_hook=list)


@settings(max_examples=100)
@given(listing=any_listing())
async def test_the_database_shows_a_listing_as_the_api_does(
    conn: Connection, listing: Listing
) -> None:
    async with stored(conn, listing) as found:
        for reader_id in (found.seller_id, NOBODY):
            text = await conn.fetchval(_TEXT, found.id, reader_id)
            shown = ListingView.for_user(reader_id, found).model_dump_json()
            assert members(text) == members(shown)
            assert [name for name, _ in members(text)] == list(ListingView.model_fields)
        to_all = ListingView.for_user(NOBODY, found).model_dump_json()
        assert members(await conn.fetchval(_TEXT, found.id, None)) == members(to_all)
        assert await conn.fetchval(_EVENT, found.id) == json.loads(to_all)


@settings(max_examples=100)
@given(listing=any_listing(), seller=names, device=names)
async def test_a_nearby_listing_is_the_listing_with_its_seller_and_device(
    conn: Connection, listing: Listing, seller: str, device: str
) -> None:
    active = replace(listing, status=ListingStatus.ACTIVE, paused_by=None)
    async with stored(conn, active, seller, device) as found:
        circle = Circle(found.exact_latitude, found.exact_longitude, 5)
        nearest = await nearby.listings(
            conn, circle, min_kwh=None, max_price=None, after=(-1.0, NOBODY), limit=5
        )
        assert [near.id for near in nearest] == [found.id] * (found.energy_amount_kwh > 0)
        if not nearest:
            return
        (near,) = nearest
        distance_km = Decimal(f"{near.distance_km:.15g}").quantize(Decimal("0.001"), ROUND_HALF_UP)
        expected = NearbyListingView.model_validate(
            ListingView.for_user(NOBODY, found).model_dump(mode="python")
            | {
                "distance_km": float(distance_km),
                "seller": {"id": found.seller_id, "full_name": seller},
                "device": found.device_id
                and {"id": found.device_id, "name": device, "kind": "inverter"},
            }
        )
        assert members(near.shown) == members(expected.model_dump_json())


@st.composite
def any_transaction(draw: st.DrawFn) -> Transaction:
    links = st.none() | st.uuids()
    return Transaction(
        id=draw(st.uuids()),
        listing_id=draw(st.none() | st.just(ListingId(NOBODY))),
        buyer_id=draw(links),  # type: ignore[arg-type]
        seller_id=draw(links),  # type: ignore[arg-type]
        payment_method_id=draw(links),
        energy_kwh=draw(kwh),
        price_per_kwh=draw(price),
        total_price=draw(decimals(14, 2)),
        platform_fee=draw(decimals(14, 2)),
        seller_amount=draw(decimals(14, 2)),
        investor_amount=draw(decimals(14, 2)),
        status="completed",
        created_at=draw(instants),
    )


_COLUMNS = [f.name for f in fields(Transaction)]
_PURCHASE = (
    "SELECT purchase_text(t) AS purchase, transaction_json(t) AS event"
    "  FROM jsonb_populate_record(NULL::energy_transactions, $1) AS t"
)


@settings(max_examples=100)
@given(transaction=any_transaction(), listing=any_listing())
async def test_a_purchase_is_the_transaction_with_its_listing(
    conn: Connection, transaction: Transaction, listing: Listing
) -> None:
    async with stored(conn, listing) as found:
        listing_id = found.id if transaction.listing_id is not None else None
        bought = replace(transaction, listing_id=listing_id)
        row = {name: getattr(bought, name) for name in _COLUMNS}
        answer = await conn.fetchrow(_PURCHASE, json.loads(json.dumps(row, default=str)))
        assert answer is not None
        view = TransactionView.model_validate(bought)
        shown = ListingView.for_user(NOBODY, found) if listing_id else None
        expected = PurchaseView.model_validate(view.model_dump() | {"listing": shown})
        assert members(answer["purchase"]) == members(expected.model_dump_json())
        assert answer["event"] == json.loads(view.model_dump_json())
