"""Local prices of energy: the supply-demand ratio (SDR) of a neighbourhood.

Source: Liu et al., Energy-Sharing Model With Price-Based Demand Response for Microgrids of
Peer-to-Peer Prosumers, IEEE Trans. Power Systems 32(5), 2017, eqs. 7, 9, 10. S is the energy
offered, D the energy wanted and r = S / D. If r is at least 1, or D is 0, the price is the one that
the grid pays for energy (`export`). If S is 0, it is the one that the grid charges (`retail`).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal, localcontext

from core.geo import neighbourhood, with_ring
from core.units import KWH, price

# Largest demand of a buyer without a purchase so far: a 15-minute slot at 4 kW.
NEWCOMER_DEMAND_KWH = Decimal("1.000")
# A refused order costs nothing, so its amount proves little: it counts as demand up to this
# multiple of the buyer's largest purchase.
_GROWTH_MAX = 2

# With so many digits every product below is exact: only the one division rounds.
_DIGITS = 60


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid's prices, INR per kWh."""

    # The grid charges this for a kWh.
    retail: Decimal
    # The grid pays this for a kWh: less than `retail`.
    export: Decimal


@dataclass(frozen=True, slots=True)
class PriceRules:
    """The operator's settings of local prices."""

    grid: Grid
    # Largest demand of one household in a slot.
    demand_max_kwh: Decimal


@dataclass(frozen=True, slots=True)
class LocalPrice:
    """The local price in INR per kWh, not rounded.

    The prices of both sides and the grid's balance:
    buy·D - sell·S = retail·max(D-S, 0) - export·max(S-D, 0).
    """

    # The price that sellers get.
    sell: Decimal
    # The price that buyers pay, with the energy from the grid included.
    buy: Decimal


def local_price(offered_kwh: Decimal, wanted_kwh: Decimal, grid: Grid) -> LocalPrice:
    """Return the price at a supply and a demand."""
    if wanted_kwh <= offered_kwh:
        # r ≥ 1, or no demand. The rest goes to the grid at its price, for both sides alike.
        return LocalPrice(grid.export, grid.export)
    with localcontext(prec=_DIGITS):
        # Both sides of the fraction are multiplied by D, so that there is only one division.
        sell = (grid.export * grid.retail * wanted_kwh) / (
            (grid.retail - grid.export) * offered_kwh + grid.export * wanted_kwh
        )
        buy = (sell * offered_kwh + grid.retail * (wanted_kwh - offered_kwh)) / wanted_kwh
    return LocalPrice(sell, buy)


def wanted_kwh(
    asked_kwh: Decimal,
    *,
    balance: Decimal,
    price_per_kwh: Decimal,
    export: Decimal,
    listed_kwh: Decimal,
    most_bought_kwh: Decimal,
) -> Decimal:
    """Return the part of a refused order that counts as demand, in whole Wh.

    A refused order costs nothing, so three limits apply: the energy that the buyer's `balance` pays
    for, at no less than the grid's `export` price; the energy that the listing ever offered
    (`listed_kwh`); and twice the largest of the buyer's latest purchases.
    """
    affordable_kwh = balance / max(price_per_kwh, export)
    usual_kwh = max(NEWCOMER_DEMAND_KWH, _GROWTH_MAX * most_bought_kwh)
    return min(asked_kwh, affordable_kwh, listed_kwh, usual_kwh).quantize(KWH, ROUND_FLOOR)


def listing_price(sell: Decimal, floor: Decimal, cap: Decimal) -> Decimal:
    """Return the price of a listing at the local price `sell`, within its floor and cap."""
    return price(min(max(sell, floor), cap))


@dataclass(frozen=True, slots=True)
class PlaceTotals:
    """The energy offered and wanted at one place."""

    latitude: float
    longitude: float
    offered_kwh: Decimal
    wanted_kwh: Decimal
    # A listing at this place has a dynamic price.
    priced: bool


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """An H3 cell and its price; supply and demand include those of the cells around it."""

    cell: str
    offered_kwh: Decimal
    wanted_kwh: Decimal
    price: LocalPrice


@dataclass(slots=True)
class SupplyAndDemand:
    """The energy offered and wanted per H3 cell, summed over places."""

    _offered_kwh: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _wanted_kwh: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _priced: set[str] = field(default_factory=set)

    def add(self, place: PlaceTotals) -> None:
        cell = neighbourhood(place.latitude, place.longitude)
        self._offered_kwh[cell] += place.offered_kwh
        self._wanted_kwh[cell] += place.wanted_kwh
        if place.priced:
            self._priced.add(cell)

    def neighbourhoods(self, grid: Grid) -> Iterator[Neighbourhood]:
        """Yield the neighbourhoods that contain a listing with a dynamic price."""
        nothing = Decimal(0)
        for cell in sorted(self._priced):
            near = with_ring(cell)
            offered_kwh = sum((self._offered_kwh.get(c, nothing) for c in near), nothing)
            wanted_kwh = sum((self._wanted_kwh.get(c, nothing) for c in near), nothing)
            yield Neighbourhood(
                cell, offered_kwh, wanted_kwh, local_price(offered_kwh, wanted_kwh, grid)
            )
