"""Flags on a device's energy, on both sides of each threshold."""

from datetime import UTC, datetime, timedelta

import pytest

from core.flags import (
    CheckedDevice,
    FlagKind,
    ReadingCredit,
    SlotEnergy,
    find_in_slots,
    find_resets,
    slots_with_resets,
)
from core.intervals import Quality, Reason
from core.units import SLOT

BANGALORE = (12.9716, 77.5946)
# In Bangalore: 23:30 at night, and noon.
NIGHT = datetime(2026, 3, 1, 18, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
ROOF = CheckedDevice(5000, BANGALORE, has_battery=False)


def slots(
    begin: datetime,
    *energies_wh: float,
    quality: Quality = Quality.MEASURED,
    reason: Reason | None = None,
) -> list[SlotEnergy]:
    reasons = frozenset([reason] if reason else [])
    return [
        SlotEnergy(begin + n * SLOT, energy_wh, quality, reasons)
        for n, energy_wh in enumerate(energies_wh)
    ]


def kinds(found: list[SlotEnergy], device: CheckedDevice = ROOF) -> list[FlagKind]:
    return [finding.kind for finding in find_in_slots(found, device)]


def test_generation_in_the_dark_is_flagged_with_the_suns_elevation() -> None:
    [finding] = find_in_slots(slots(NIGHT, 150, 120), ROOF)
    assert (finding.kind, finding.energy_wh) == (FlagKind.NIGHT_GENERATION, 270)
    evidence = finding.evidence
    assert (evidence["from"], evidence["to"], evidence["slots"]) == (
        "2026-03-01T18:00:00.000000Z", "2026-03-01T18:30:00.000000Z", 2,
    )  # fmt: skip
    assert evidence["examples"][0]["energy_wh"] == 150
    assert all(-90 < one["sun_at_most_deg"] < -6 for one in evidence["examples"])


@pytest.mark.parametrize(
    ("found", "device"),
    [
        (slots(NOON, 900, 900), ROOF),
        (slots(NIGHT, 300), ROOF),  # one slot alone
        (slots(NIGHT, 100, 149), ROOF),  # less than three minutes of its capacity
        (slots(NIGHT, 60, 39), CheckedDevice(100, BANGALORE, has_battery=False)),
        (slots(NIGHT, 150, 120), CheckedDevice(5000, BANGALORE, has_battery=True)),
        (slots(NIGHT, 150, 120), CheckedDevice(5000, None, has_battery=False)),
        (slots(NIGHT, 150, 120, quality=Quality.ESTIMATED), ROOF),
        (slots(NIGHT, 150) + slots(NIGHT + timedelta(days=1), 120), ROOF),
    ],
)
def test_plausible_energy_at_night_is_not_flagged(
    found: list[SlotEnergy], device: CheckedDevice
) -> None:
    assert kinds(found, device) == []


def test_twilight_is_not_dark() -> None:
    """The sun sets at about 18:28 and is 6 degrees below the horizon 21 minutes later."""
    dusk = datetime(2026, 3, 1, 13, tzinfo=UTC)
    assert kinds(slots(dusk, 500, 500)) == []
    assert kinds(slots(dusk + 2 * SLOT, 500, 500)) == [FlagKind.NIGHT_GENERATION]


def silence(hours: float, mean_w: float) -> list[SlotEnergy]:
    """A silence that begins at noon, whose energy is spread evenly."""
    return slots(NOON, *[mean_w / 4] * round(4 * hours), quality=Quality.INTERPOLATED)


def test_a_silence_with_more_energy_than_its_daylight_makes_is_flagged() -> None:
    """From noon to midnight the sun is above -6 degrees for 28 slots, or 35 kWh at 5 kW."""
    assert kinds(silence(12, 2900)) == []
    [finding] = find_in_slots(silence(12, 3000), ROOF)
    assert (finding.kind, finding.evidence["slots"]) == (FlagKind.NIGHT_GENERATION, 20)
    assert finding.energy_wh == pytest.approx(1000)
    assert kinds(silence(12, 3000), CheckedDevice(5000, None, has_battery=False)) == []
    assert kinds(silence(12, 3000), CheckedDevice(5000, BANGALORE, has_battery=True)) == []
    assert kinds(slots(NIGHT, 150, 120, quality=Quality.INTERPOLATED)) == [
        FlagKind.NIGHT_GENERATION
    ]


def test_the_rest_of_a_silence_is_looked_at_in_whole_days() -> None:
    """Of a silence that began earlier the last night alone would look like generation."""
    night = slots(NIGHT, *[300] * 24, quality=Quality.INTERPOLATED)
    assert find_in_slots(night, ROOF, since=NIGHT) == []
    assert find_in_slots(night, ROOF, since=NIGHT - timedelta(minutes=14)) == []
    assert find_in_slots(night, ROOF, since=NIGHT - SLOT) != []
    days = slots(NIGHT, *[300] * 232, quality=Quality.INTERPOLATED)
    assert find_in_slots(days, ROOF, since=NIGHT) == []
    more = slots(NIGHT, *[800] * 232, quality=Quality.INTERPOLATED)
    [finding] = find_in_slots(more, ROOF, since=NIGHT)
    assert finding.kind == FlagKind.NIGHT_GENERATION


def test_two_hours_near_the_limit_are_flagged() -> None:
    [finding] = find_in_slots(slots(NOON, *[1500] * 8), ROOF)
    assert (finding.kind, finding.energy_wh) == (FlagKind.NEAR_LIMIT, 12_000)
    assert finding.evidence == {
        "from": "2026-03-01T06:30:00.000000Z", "to": "2026-03-01T08:30:00.000000Z", "slots": 8,
        "hours": 2.0, "mean_power_w": 6000.0, "capacity_w": 5000, "limit_w": 6250.0,
    }  # fmt: skip
    interpolated = slots(NOON, *[1500] * 8, quality=Quality.INTERPOLATED)
    assert kinds(interpolated) == [FlagKind.NEAR_LIMIT]


@pytest.mark.parametrize(
    "found",
    [
        slots(NOON, *[1500] * 7),
        slots(NOON, *[1437] * 8),
        slots(NOON, *[1500] * 8, quality=Quality.REJECTED),
        slots(NOON - timedelta(days=1), *[1500] * 4) + slots(NOON, *[1500] * 4),
    ],
)
def test_less_energy_near_the_limit_is_not_flagged(found: list[SlotEnergy]) -> None:
    assert kinds(found) == []


def saw_tooth(count: int, energy_wh: float, *, between_wh: float) -> list[ReadingCredit]:
    """Return credits of resets, and of as many rises between them."""
    return [
        ReadingCredit(
            NOON + n * timedelta(minutes=1), between_wh if n % 2 else energy_wh, is_reset=n % 2 == 0
        )
        for n in range(2 * count)
    ]


def test_resets_that_earn_are_flagged_with_the_largest_ones() -> None:
    reset = slots(NOON, 2000, 2000, reason=Reason.RESET)
    assert slots_with_resets(reset) == reset
    finding = find_resets(reset, reset, saw_tooth(4, 500, between_wh=500))
    assert finding is not None
    assert (finding.kind, finding.energy_wh) == (FlagKind.EARNING_RESETS, 2000)
    assert finding.evidence["resets_seen"] == 4
    assert finding.evidence["share_of_day"] == 0.5
    assert finding.evidence["largest"][0] == {
        "time": "2026-03-01T06:30:00.000000Z", "energy_wh": 500,
    }  # fmt: skip


def test_a_device_that_restarts_after_each_power_cut_is_not_flagged() -> None:
    """Ten cuts on a day of 20 kWh: each reset credits the energy generated since the cut."""
    day = slots(NOON, *[500] * 30)
    cuts = slots(NOON + 30 * SLOT, *[500] * 10, reason=Reason.RESET)
    credited = saw_tooth(10, 80, between_wh=420)
    assert find_resets(day + cuts, cuts, credited) is None


@pytest.mark.parametrize(
    "credited",
    [
        [],
        saw_tooth(3, 700, between_wh=500),
        saw_tooth(4, 200, between_wh=2000),
        [ReadingCredit(NOON, 0.0, is_reset=True)] * 9,
    ],
)
def test_few_resets_or_resets_with_little_energy_are_not_flagged(
    credited: list[ReadingCredit],
) -> None:
    reset = slots(NOON, 2000, reason=Reason.RESET)
    assert find_resets(reset, reset, credited) is None


def test_readings_are_needed_only_if_resets_may_have_earned_enough() -> None:
    assert slots_with_resets(slots(NOON, 999, reason=Reason.RESET)) == ()
    assert slots_with_resets(slots(NOON, 2000)) == ()
    busy = slots(NOON - 12 * SLOT, *[1200] * 12)
    assert slots_with_resets(busy + slots(NOON, 1200, reason=Reason.RESET)) == ()
