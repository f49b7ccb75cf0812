"""What energy is worth in a neighbourhood: the supply-demand ratio (SDR).

Liu et al., Energy-Sharing Model With Price-Based Demand Response for Microgrids of Peer-to-Peer
Prosumers, IEEE Trans. Power Systems 32(5), 2017, eqs. 7, 9, 10. With S the energy offered, D the
energy wanted and r = S / D: where r reaches 1, or nobody wants any, energy is worth what the grid
pays for it (`export`); where there is none, what the grid takes for it (`retail`).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal, localcontext

from core.geo import neighbourhood, with_ring
from core.units import KWH, price

# What a buyer without any purchase yet counts for, kWh: a 15-minute slot at 4 kW.
NEWCOMER_DEMAND_KWH = Decimal("1.000")
# How much more than ever before a buyer may want at once, and be believed.
_GROWTH = 2

# Enough for every product below to be exact, so that the one division rounds in the right place.
_DIGITS = 60


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid's prices, INR per kWh: what it takes, and the less that it pays."""

    retail: Decimal
    export: Decimal


@dataclass(frozen=True, slots=True)
class PriceRules:
    """`demand_max_kwh`: what one household counts for in a slot."""

    grid: Grid
    demand_max_kwh: Decimal


@dataclass(frozen=True, slots=True)
class LocalPrice:
    """INR per kWh, not rounded: what sellers get, and what buyers pay with the grid's part in it.

    No money is lost or made between them: buy·D - sell·S = retail·max(D-S, 0) - export·max(S-D, 0).
    """

    sell: Decimal
    buy: Decimal


def local_price(offered_kwh: Decimal, wanted_kwh: Decimal, grid: Grid) -> LocalPrice:
    """The price where so much is offered and so much wanted."""
    if wanted_kwh <= offered_kwh:
        # r ≥ 1, or no demand. What is left over goes to the grid, which both sides bear alike.
        return LocalPrice(grid.export, grid.export)
    with localcontext(prec=_DIGITS):
        # Both sides of the fraction times D, for it to be the only division.
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
    """How much of a refused order is demand, in whole Wh: an order that is refused costs nothing.

    At most what the buyer's `balance` pays for, where no kWh counts as cheaper than the grid's
    `export` price, whatever its seller asks; what its listing has had in all (`listed_kwh`); and
    twice the largest of the buyer's latest purchases.
    """
    affordable_kwh = balance / max(price_per_kwh, export)
    usual_kwh = max(NEWCOMER_DEMAND_KWH, _GROWTH * most_bought_kwh)
    return min(asked_kwh, affordable_kwh, listed_kwh, usual_kwh).quantize(KWH, ROUND_FLOOR)


def listing_price(sell: Decimal, floor: Decimal, cap: Decimal) -> Decimal:
    """What a listing takes where sellers get `sell`."""
    return price(min(max(sell, floor), cap))


@dataclass(frozen=True, slots=True)
class PricedPlace:
    """What is offered and wanted at one place; `priced`: a listing there takes the local price."""

    latitude: float
    longitude: float
    offered_kwh: Decimal
    wanted_kwh: Decimal
    priced: bool


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """An H3 cell; supply and demand are those of its ring, too."""

    cell: str
    offered_kwh: Decimal
    wanted_kwh: Decimal
    price: LocalPrice


@dataclass(slots=True)
class Survey:
    """Places, one after the other, and the neighbourhoods that they make."""

    _offered_kwh: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _wanted_kwh: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _priced: set[str] = field(default_factory=set)

    def add(self, place: PricedPlace) -> None:
        cell = neighbourhood(place.latitude, place.longitude)
        self._offered_kwh[cell] += place.offered_kwh
        self._wanted_kwh[cell] += place.wanted_kwh
        if place.priced:
            self._priced.add(cell)

    def neighbourhoods(self, grid: Grid) -> Iterator[Neighbourhood]:
        """Those that a listing takes its price from."""
        nothing = Decimal(0)
        for cell in sorted(self._priced):
            near = with_ring(cell)
            offered_kwh = sum((self._offered_kwh.get(c, nothing) for c in near), nothing)
            wanted_kwh = sum((self._wanted_kwh.get(c, nothing) for c in near), nothing)
            yield Neighbourhood(
                cell, offered_kwh, wanted_kwh, local_price(offered_kwh, wanted_kwh, grid)
            )
