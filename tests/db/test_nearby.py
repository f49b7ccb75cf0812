"""What is near is found by index, exactly, everywhere on earth."""

import json
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.geo import distance_km, search_boxes
from db import nearby
from db.nearby import Circle
from db.pool import Connection, Pool
from tests.support.people import add_user

Place = tuple[float, float]


# Where a box is easily wrong: near the poles, across the antimeridian, where degrees are short.
def degrees(limit: float) -> st.SearchStrategy[float]:
    """As the API lets them in."""
    return st.floats(-limit, limit).map(lambda value: round(value, 9))


_LATITUDES = st.sampled_from([-90.0, -89.9, -60.0, 0.0, 12.97, 60.0, 89.5, 90.0]) | st.floats(
    -90, 90
)
_LONGITUDES = st.sampled_from([-180.0, -179.99, 0.0, 77.59, 179.99, 180.0]) | degrees(180)
centres = st.tuples(_LATITUDES, _LONGITUDES)
radii = st.floats(0.01, 100)
# In degrees around the centre: what is not near is far from interesting.
offsets = st.lists(st.tuples(degrees(1.2), degrees(180)), max_size=25)

_ADD = """
INSERT INTO energy_listings (seller_id, stated_kwh, price_per_kwh, latitude, longitude,
                             available_from, available_to)
SELECT $1, 1, 1, latitude, longitude, now(), now() + interval '1 day'
  FROM unnest($2::float8[], $3::float8[]) AS place (latitude, longitude)
RETURNING id, latitude, longitude
"""


def places_around(centre: Place, offsets: list[Place]) -> list[Place]:
    latitude, longitude = centre
    return [
        (max(-90.0, min(90.0, latitude + north)), (longitude + east + 540) % 360 - 180)
        for north, east in offsets
    ]


async def add(conn: Connection, seller: UUID, places: list[Place]) -> dict[UUID, Place]:
    rows = await conn.fetch(_ADD, seller, [p[0] for p in places], [p[1] for p in places])
    return {row["id"]: (row["latitude"], row["longitude"]) for row in rows}


async def find(conn: Connection, centre: Place, radius_km: float) -> list[tuple[UUID, float]]:
    circle = Circle(*centre, radius_km, search_boxes(*centre, radius_km))
    found = await nearby.listings(
        conn, circle, min_kwh=None, max_price=None, after=(-1.0, UUID(int=0)), limit=1000
    )
    return [(near.listing.id, near.distance_km) for near in found]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(centres, radii, offsets)
@example((60.0, 179.999), 100.0, [(0.0, 0.002), (0.5, 1.5), (-0.8, 0.0)])
@example((90.0, 0.0), 50.0, [(-0.1, 180.0), (-0.44, 90.0), (-1.0, 0.0)])
@example((0.0, -180.0), 1.0, [(0.0, 0.0), (0.0, 0.005), (0.0, -0.005)])
async def test_what_is_found_is_what_measuring_every_distance_finds(
    pool: Pool, centre: Place, radius_km: float, offsets: list[Place]
) -> None:
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        try:
            seller = await add_user(conn, "host")
            places = await add(conn, seller.id, places_around(centre, offsets))
            found = await find(conn, centre, radius_km)
        finally:
            await transaction.rollback()
    expected = {id_: distance_km(*centre, *place) for id_, place in places.items()}
    # Two machines may disagree on the last bit of what lies on the circle itself.
    inside = {id_ for id_, km in expected.items() if km < radius_km - 1e-9}
    at_most = {id_ for id_, km in expected.items() if km <= radius_km + 1e-9}
    assert inside <= {id_ for id_, _ in found} <= at_most
    assert found == sorted(found, key=lambda item: (item[1], item[0]))
    for id_, km in found:
        assert km == pytest.approx(expected[id_], abs=1e-6)


async def test_the_index_finds_the_candidates(conn: Connection) -> None:
    seller = await add_user(conn, "host")
    many = [(12.5 + n % 100 * 0.01, 77.1 + n // 100 * 0.01) for n in range(10_000)]
    await add(conn, seller.id, many)
    await conn.execute("ANALYZE energy_listings")
    centre = (12.97, 77.59)
    [box] = search_boxes(*centre, 5)
    plan = json.loads(
        await conn.fetchval(
            f"EXPLAIN (FORMAT JSON) {nearby._LISTINGS}",
            [box.south], [box.west], [box.north], [box.east], *centre, 5.0, None, None,
            -1.0, UUID(int=0), 20,
        )
    )  # fmt: skip
    assert "energy_listings_place" in json.dumps(plan)
    assert len(await find(conn, centre, 5)) > 50
