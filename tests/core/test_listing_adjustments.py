"""Adjustments of a listing that follows a meter."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from msgspec.structs import replace

from core.events import EventType
from core.listing_adjustments import AdjustedListing, Adjustment, Condition, adjust

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONLINE = Condition("online")
LISTING = AdjustedListing(
    id=UUID(int=1),
    device_id=UUID(int=2),
    status="active",
    paused_by=None,
    stated_kwh=Decimal(0),
    measured_wh=Decimal(5000),
    sold_kwh=Decimal(2),
    reserve_soc_pct=None,
    measured_from=NOW - timedelta(hours=1),
    available_to=NOW + timedelta(hours=1),
)
SOLD = replace(LISTING, status="sold", sold_kwh=Decimal(5))


def follow(
    listing: AdjustedListing, wh: float = 0, condition: Condition = ONLINE, now: datetime = NOW
) -> Adjustment:
    return adjust(listing, surplus_change_wh=Decimal(str(wh)), condition=condition, now=now)


def test_new_surplus_raises_what_is_left() -> None:
    after = follow(LISTING, 1500)
    assert (after.listing.left_kwh, after.event) == (Decimal("4.5"), EventType.LISTING_UPDATED)


def test_less_than_a_watt_hour_is_stored_but_not_announced() -> None:
    after = follow(LISTING, 0.4)
    assert (after.listing.measured_wh, after.event) == (Decimal("5000.4"), None)


def test_a_correction_lowers_the_energy_but_never_below_zero() -> None:
    assert follow(LISTING, -1000).listing.left_kwh == 2
    assert follow(LISTING, -4000).listing.left_kwh == 0


def test_a_sold_listing_resumes_when_there_is_energy_again() -> None:
    assert follow(SOLD).event is None
    after = follow(SOLD, 10)
    assert (after.listing.status, after.event) == ("active", EventType.LISTING_RESUMED)


@pytest.mark.parametrize("condition", [Condition("offline"), Condition("fault")])
def test_a_device_that_is_offline_or_faulty_pauses_it_and_its_return_resumes_it(
    condition: Condition,
) -> None:
    paused = follow(LISTING, condition=condition)
    assert (paused.listing.status, paused.event) == ("paused", EventType.LISTING_PAUSED)
    resumed = follow(paused.listing)
    assert (resumed.listing, resumed.event) == (LISTING, EventType.LISTING_RESUMED)


def test_a_battery_under_its_reserve_pauses_it() -> None:
    listing = replace(LISTING, reserve_soc_pct=30.0)
    assert follow(listing, condition=Condition("online", 29.9)).listing.status == "paused"
    assert follow(listing, condition=Condition("online", 30.0)).listing.status == "active"
    assert follow(listing, condition=ONLINE).listing.status == "active"


def test_a_listing_paused_by_its_seller_stays_paused() -> None:
    paused = replace(LISTING, status="paused", paused_by="seller")
    assert follow(paused, 1000).listing.status == "paused"


def test_energy_for_a_sold_listing_of_an_offline_device_waits_for_its_return() -> None:
    waiting = follow(SOLD, 10, Condition("offline"))
    assert (waiting.listing.status, waiting.listing.paused_by) == ("paused", "device")
    assert follow(waiting.listing).listing.status == "active"


@pytest.mark.parametrize("listing", [LISTING, SOLD, replace(LISTING, status="paused")])
def test_a_listing_expires_at_the_end_of_its_window_in_every_case(listing: AdjustedListing) -> None:
    after = follow(listing, 1000, Condition("fault"), LISTING.available_to)
    assert (after.listing.status, after.event) == ("expired", EventType.LISTING_EXPIRED)
