"""Units of energy, prices and money, the only rounding rules, and 15-minute slots.

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

# Largest balance of a wallet, INR: the limit of numeric(14,2) and of SQL function `balance_max`.
BALANCE_MAX = Decimal("999999999999.99")

SLOT = timedelta(minutes=15)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def money(amount: Decimal) -> Decimal:
    """Round to whole paise, half up: money is rounded in no other way."""
    return amount.quantize(MONEY, ROUND_HALF_UP)


def price(amount: Decimal) -> Decimal:
    """Round a price per kWh to four decimals, half up."""
    return amount.quantize(PRICE, ROUND_HALF_UP)


def kwh_of_wh(energy_wh: Decimal) -> Decimal:
    """Convert to kWh, rounded down to whole watt-hours: a fraction of one is not sold."""
    return (energy_wh / 1000).quantize(KWH, ROUND_FLOOR)


def wh_of_mwh(energy_mwh: int) -> Decimal:
    """Convert milliwatt-hours to exact watt-hours."""
    return Decimal(energy_mwh).scaleb(-3)


def mwh_of_wh(energy_wh: float | Decimal) -> int:
    """Round watt-hours of a counter to the nearest milliwatt-hour."""
    return round(energy_wh * 1000)


# Interval accounting computes the slot of each reading four times.
@lru_cache(maxsize=4096)
def slot_of(at: datetime) -> datetime:
    """Return the start of the 15-minute slot that contains `at`."""
    return at - (at - _EPOCH) % SLOT


def rfc3339(at: datetime) -> str:
    """Format an aware instant as the API does: UTC, microseconds, `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
