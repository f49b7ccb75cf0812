"""Local prices by supply and demand, as the source of `core.prices` defines them."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import h3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.geo import neighbourhood
from core.prices import Grid, PlaceTotals, SupplyAndDemand, listing_price, local_price
from core.units import price

GRID = Grid(retail=Decimal("0.30"), export=Decimal("0.08"))
BANGALORE = (12.9716, 77.5946)
HOME = neighbourhood(*BANGALORE)
NOTHING = Decimal(0)


def decimals(least: int, most: int, places: int) -> st.SearchStrategy[Decimal]:
    return st.integers(least, most).map(lambda n: Decimal(n).scaleb(-places))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    export, more = draw(decimals(1, 10**9, 4)), draw(decimals(1, 10**9, 4))
    return Grid(export + more, export)


# Up to the energy of a hundred thousand listings, to the watt-hour.
energies = decimals(0, 10**17, 3)


def test_the_price_of_a_known_case() -> None:
    local = local_price(Decimal(4), Decimal(10), GRID)
    assert (price(local.sell), price(local.buy)) == (Decimal("0.1429"), Decimal("0.2371"))


@pytest.mark.parametrize(
    ("offered", "wanted", "expected"),
    [
        # No demand.
        (5, 0, "0.08"),
        (0, 0, "0.08"),
        # No supply.
        (0, 5, "0.30"),
        # At least as much supply as demand.
        (5, 5, "0.08"),
        (500, 5, "0.08"),
    ],
)
def test_without_supply_or_unmet_demand_the_grids_price_applies(
    offered: int, wanted: int, expected: str
) -> None:
    local = local_price(Decimal(offered), Decimal(wanted), GRID)
    assert (local.sell, local.buy) == (Decimal(expected), Decimal(expected))


@given(energies, energies, grids())
def test_both_prices_lie_between_the_grids_prices(
    offered: Decimal, wanted: Decimal, grid: Grid
) -> None:
    local = local_price(offered, wanted, grid)
    assert grid.export <= local.sell <= local.buy <= grid.retail
    assert grid.export <= price(local.sell) <= grid.retail


@given(energies, energies, grids())
def test_no_money_is_made_or_lost_between_buyers_and_sellers(
    offered: Decimal, wanted: Decimal, grid: Grid
) -> None:
    local = local_price(offered, wanted, grid)
    s, d, retail, export = map(Fraction, (offered, wanted, grid.retail, grid.export))
    balance = Fraction(local.buy) * d - Fraction(local.sell) * s
    with_the_grid = retail * max(d - s, Fraction(0)) - export * max(s - d, Fraction(0))
    assert abs(balance - with_the_grid) <= (d + s) * retail / 10**50


@given(st.lists(energies, min_size=2, max_size=6), energies, grids())
def test_more_supply_never_raises_the_price(
    offers: list[Decimal], wanted: Decimal, grid: Grid
) -> None:
    prices = [local_price(offered, wanted, grid) for offered in sorted(offers)]
    for scarcer, richer in pairwise(prices):
        assert scarcer.sell >= richer.sell
        assert scarcer.buy >= richer.buy


@given(energies, energies, grids(), decimals(1, 10**9, 4), decimals(0, 10**9, 4))
def test_a_listing_has_the_local_price_within_its_floor_and_cap(
    offered: Decimal, wanted: Decimal, grid: Grid, floor: Decimal, more: Decimal
) -> None:
    sell, cap = local_price(offered, wanted, grid).sell, floor + more
    listed = listing_price(sell, floor, cap)
    assert listed == price(listed)
    assert floor <= listed <= cap
    if floor < sell < cap:
        assert listed == price(sell)


def place(cell: str, offered: int = 0, wanted: int = 0, *, priced: bool = False) -> PlaceTotals:
    latitude, longitude = h3.cell_to_latlng(cell)
    return PlaceTotals(latitude, longitude, Decimal(offered), Decimal(wanted), priced)


def test_a_neighbourhood_is_a_cell_and_its_ring() -> None:
    beside = h3.grid_ring(HOME, 1)[0]
    totals = SupplyAndDemand()
    totals.add(place(HOME, 1, priced=True))
    totals.add(place(beside, 3))
    totals.add(place(beside, wanted=10))
    for far in h3.grid_ring(HOME, 2):
        totals.add(place(far, 1000, 1000))
    [found] = totals.neighbourhoods(GRID)
    assert (found.cell, found.offered_kwh, found.wanted_kwh) == (HOME, 4, 10)
    assert price(found.price.sell) == Decimal("0.1429")


def test_adjacent_neighbourhoods_may_have_different_prices() -> None:
    beside = h3.grid_ring(HOME, 1)[0]
    beyond = next(c for c in h3.grid_ring(HOME, 2) if h3.grid_distance(c, beside) == 1)
    totals = SupplyAndDemand()
    totals.add(place(HOME, 1, priced=True))
    totals.add(place(beside, 1, priced=True))
    totals.add(place(beyond, wanted=5))
    found = {one.cell: one for one in totals.neighbourhoods(GRID)}
    assert found.keys() == {HOME, beside}
    assert (found[HOME].wanted_kwh, found[beside].wanted_kwh) == (0, 5)
    assert found[HOME].price.sell == GRID.export < found[beside].price.sell


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_every_place_on_earth_has_a_neighbourhood(latitude: float, longitude: float) -> None:
    totals = SupplyAndDemand()
    totals.add(PlaceTotals(latitude, longitude, Decimal(1), NOTHING, priced=True))
    [found] = totals.neighbourhoods(GRID)
    assert (found.offered_kwh, found.wanted_kwh) == (1, 0)
