"""Exact kWh, prices and money; the one rounding rule; aware UTC.

Energy for sale is `Decimal` kWh with 3 decimals, a price `Decimal` INR per kWh with 4, money
`Decimal` INR with 2. Inside the accountant energy is an `int` of milliwatt-hours, so that sums are
exact and do not depend on order.
"""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import lru_cache

KWH = Decimal("0.001")
PRICE = Decimal("0.0001")
MONEY = Decimal("0.01")

# The most that a wallet holds, INR: what NUMERIC(14,2) can.
BALANCE_MAX = Decimal("999999999999.99")

SLOT = timedelta(minutes=15)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def money(amount: Decimal) -> Decimal:
    """Round to whole paise, half up: the only way that money is rounded."""
    return amount.quantize(MONEY, ROUND_HALF_UP)


def price(amount: Decimal) -> Decimal:
    """Round a price per kWh to four decimals, half up."""
    return amount.quantize(PRICE, ROUND_HALF_UP)


def kwh_of_wh(energy_wh: Decimal) -> Decimal:
    """Whole watt-hours of `energy_wh` as kWh, rounded down: a part of one is not sold."""
    return (energy_wh / 1000).quantize(KWH, ROUND_FLOOR)


def wh_of_mwh(energy_mwh: int) -> Decimal:
    """Milliwatt-hours as exact watt-hours."""
    return Decimal(energy_mwh).scaleb(-3)


def mwh_of_wh(energy_wh: float | Decimal) -> int:
    """A counter's watt-hours to the nearest milliwatt-hour."""
    return round(energy_wh * 1000)


# Whoever asks once asks again: of each reading the accountant does four times.
@lru_cache(maxsize=4096)
def slot_of(at: datetime) -> datetime:
    """Start of the 15-minute slot that `at` lies in."""
    return at - (at - _EPOCH) % SLOT


def rfc3339(at: datetime) -> str:
    """An aware instant as the contract writes it: UTC, microseconds, `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
