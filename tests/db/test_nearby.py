"""Searches for nearby things are exact everywhere on earth, and use an index."""

import json
from dataclasses import dataclass
from math import atan2, cos, hypot, radians, sin
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.geo import Circle
from db import nearby
from db.pool import Connection, Pool
from tests.support.people import Person, add_user

Place = tuple[float, float]
Found = list[tuple[UUID, float, Place]]

START = (-1.0, UUID(int=0))
MEAN_RADIUS_KM = 6371.0088


# Places where a search box is easily wrong: near the poles, and across the antimeridian.
def degrees(limit: float) -> st.SearchStrategy[float]:
    """Return coordinates as the API accepts them."""
    return st.floats(-limit, limit).map(lambda value: round(value, 9))


_LATITUDES = st.sampled_from([-90.0, -89.9, -60.0, 0.0, 12.97, 60.0, 89.5, 90.0]) | degrees(90)
_LONGITUDES = st.sampled_from([-180.0, -179.99, 0.0, 77.59, 179.99, 180.0]) | degrees(180)
centres = st.tuples(_LATITUDES, _LONGITUDES)
radii = st.sampled_from([0.001, 1.0, 100.0]) | st.floats(0.01, 100)
# Offsets in degrees around the centre.
_CLOSE = st.tuples(degrees(0.02), degrees(0.02))
offsets = st.lists(st.tuples(degrees(1.2), degrees(180)) | _CLOSE, max_size=25)

_ADD_LISTINGS = """
INSERT INTO energy_listings (seller_id, stated_kwh, price_per_kwh, exact_latitude, exact_longitude,
                             available_from, available_to, exact_location)
SELECT $1, 1, 1, latitude, longitude, now(), now() + interval '1 day', $4
  FROM unnest($2::float8[], $3::float8[]) AS place (latitude, longitude)
RETURNING id, exact_latitude AS latitude, exact_longitude AS longitude
"""
_ADD_DEVICES = """
WITH added AS (
    INSERT INTO devices (owner_id, name, kind, capacity_w, latitude, longitude, credential_hash)
    SELECT $1, 'Roof', 'inverter', 5000, latitude, longitude, ''
      FROM unnest($2::float8[], $3::float8[]) AS place (latitude, longitude)
    RETURNING id, latitude, longitude
), states AS (INSERT INTO device_states (device_id) SELECT id FROM added)
SELECT id, latitude, longitude FROM added
"""
_ADD_USERS = """
WITH place AS (
    SELECT gen_random_uuid() AS id, latitude, longitude
      FROM unnest($1::float8[], $2::float8[]) AS place (latitude, longitude)
), people AS (
    INSERT INTO users (id, email, password_hash, full_name, role)
    SELECT id, id || '@example.org', '!', 'Neighbour', 'host' FROM place RETURNING id
)
INSERT INTO user_addresses (user_id, latitude, longitude, is_default)
SELECT id, latitude, longitude, true FROM people JOIN place USING (id)
RETURNING user_id AS id, latitude, longitude
"""


def vector(place: Place) -> tuple[float, float, float]:
    latitude, longitude = map(radians, place)
    return cos(latitude) * cos(longitude), cos(latitude) * sin(longitude), sin(latitude)


def angle_km(one: Place, other: Place) -> float:
    """Return the distance by the tangent of the angle: another formula than the one under test."""
    (ax, ay, az), (bx, by, bz) = vector(one), vector(other)
    cross = hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return MEAN_RADIUS_KM * atan2(cross, ax * bx + ay * by + az * bz)


def to_hundredths(place: Place) -> Place:
    return round(place[0] * 100) / 100, round(place[1] * 100) / 100


def places_around(centre: Place, offsets: list[Place]) -> list[Place]:
    latitude, longitude = centre
    return [
        (max(-90.0, min(90.0, latitude + north)), (longitude + east + 540) % 360 - 180)
        for north, east in offsets
    ]


@dataclass
class Neighbourhood:
    """The same places as homes of users, as devices and as listings, and a user who searches.

    Of listings either all are public, or none is.
    """

    conn: Connection
    looking: Person
    hosting: Person
    exact_location: bool = False

    async def add(self, places: list[Place]) -> dict[str, dict[UUID, Place]]:
        columns = [p[0] for p in places], [p[1] for p in places]
        rows = {
            "listings": await self.conn.fetch(
                _ADD_LISTINGS, self.hosting.id, *columns, self.exact_location
            ),
            "devices": await self.conn.fetch(_ADD_DEVICES, self.hosting.id, *columns),
            "users": await self.conn.fetch(_ADD_USERS, *columns),
        }
        return {
            what: {row["id"]: (row["latitude"], row["longitude"]) for row in added}
            for what, added in rows.items()
        }

    async def find(self, what: str, circle: Circle, after: Any = START, limit: int = 1000) -> Found:
        if what == "listings":
            listings = await nearby.listings(
                self.conn, circle, min_kwh=None, max_price=None, after=after, limit=limit
            )
            shown = [json.loads(n.shown) for n in listings]
            return [
                (n.id, n.distance_km, (its["latitude"], its["longitude"]))
                for n, its in zip(listings, shown, strict=True)
            ]
        caller = {"caller_id": self.looking.id, "after": after, "limit": limit}
        if what == "users":
            people = await nearby.users(self.conn, circle, role=None, **caller)
            return [(n.id, n.distance_km, (n.latitude, n.longitude)) for n in people]
        devices = await nearby.devices(self.conn, circle, kind=None, status=None, **caller)
        return [(n.id, n.distance_km, (n.latitude, n.longitude)) for n in devices]


async def neighbourhood(conn: Connection, *, exact_location: bool = False) -> Neighbourhood:
    return Neighbourhood(conn, await add_user(conn), await add_user(conn, "host"), exact_location)


def check(found: Found, places: dict[UUID, Place], centre: Place, radius_km: float) -> None:
    """Compare a search with the distances of all places, to a metre and in order."""
    expected = {id_: angle_km(centre, place) for id_, place in places.items()}
    # The two formulas may differ in the last bits for places on the circle itself.
    inside = {id_ for id_, km in expected.items() if km < radius_km - 1e-6}
    at_most = {id_ for id_, km in expected.items() if km <= radius_km + 1e-6}
    assert inside <= {id_ for id_, _, _ in found} <= at_most
    assert len({id_ for id_, _, _ in found}) == len(found)
    assert found == sorted(found, key=lambda item: (item[1], item[0]))
    for id_, km, place in found:
        assert km == pytest.approx(expected[id_], abs=1e-3)
        assert place == places[id_]


@settings(max_examples=60)
@given(centres, radii, offsets, st.booleans())
@example((60.0, 179.999), 100.0, [(0.0, 0.002), (0.5, 1.5), (-0.8, 0.0)], True)
@example((90.0, 0.0), 50.0, [(-0.1, 180.0), (-0.44, 90.0), (-1.0, 0.0)], True)
@example((-90.0, 0.0), 50.0, [(0.1, 180.0), (0.44, 90.0), (0.004, 13.0), (1.0, 0.0)], True)
@example((0.0, -180.0), 1.0, [(0.0, 0.0), (0.0, 0.005), (0.0, -0.005)], True)
@example((0.0, 179.996), 1.0, [(0.0, 0.0), (0.0, 0.003), (0.0, 0.006), (0.0, -0.002)], False)
@example((60.0, 10.0), 0.001, [(0.0, 0.0), (0.0, 1e-8), (0.004, 0.004), (0.0, 2e-8)], True)
@example((60.0, 10.0), 0.001, [(0.0, 0.0), (0.0, 1e-8), (0.004, 0.004), (0.0, 2e-8)], False)
async def test_a_search_equals_a_comparison_of_every_distance(
    pool: Pool, centre: Place, radius_km: float, offsets: list[Place], exact_location: bool
) -> None:
    circle = Circle(*centre, radius_km)
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        try:
            around = await neighbourhood(conn, exact_location=exact_location)
            added = await around.add(places_around(centre, offsets))
            found = {what: await around.find(what, circle) for what in added}
        finally:
            await transaction.rollback()
    for what, places in added.items():
        if what == "listings" and exact_location:
            shown = places
        else:
            shown = {id_: to_hundredths(place) for id_, place in places.items()}
        check(found[what], shown, centre, radius_km)


@pytest.mark.parametrize("what", ["listings", "users", "devices"])
async def test_a_wide_circle_is_searched_from_its_middle_and_as_a_whole_if_needed(
    conn: Connection, what: str
) -> None:
    around = await neighbourhood(conn)
    await around.add([(12.97 + n * 0.02, 77.59) for n in range(20)])
    circle = Circle(12.97, 77.59, 80)
    whole = await around.find(what, circle)
    assert len(whole) == 20
    for limit in range(1, 20):
        assert await around.find(what, circle, limit=limit) == whole[:limit]
        after = whole[limit - 1][1::-1]
        assert await around.find(what, circle, after, limit=2) == whole[limit : limit + 2]


@pytest.mark.parametrize("what", ["listings", "users", "devices"])
async def test_pages_are_complete_if_many_places_are_equally_near(
    conn: Connection, what: str
) -> None:
    around = await neighbourhood(conn)
    await around.add([(12.97 + n % 3 * 0.01, 77.59) for n in range(50)])
    circle = Circle(12.97, 77.59, 5)
    whole = await around.find(what, circle)
    parts: Found = []
    while part := await around.find(what, circle, parts[-1][1::-1] if parts else START, limit=7):
        parts += part
    assert parts == whole
    assert len(whole) == 50


_STATEMENTS = {
    "listings": ("_LISTINGS", "energy_listings_place", [None, None, 20]),
    "users": ("_USERS", "user_addresses_public_place", [UUID(int=1), None, 20]),
    "devices": ("_DEVICES", "devices_public_place", [UUID(int=1), None, None, 20]),
}


@pytest.mark.parametrize("what", list(_STATEMENTS))
@pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])
async def test_the_index_finds_the_candidates(conn: Connection, what: str, plan: str) -> None:
    around = await neighbourhood(conn)
    await around.add([(12.5 + n % 100 * 0.01, 77.1 + n // 100 * 0.01) for n in range(10_000)])
    await conn.execute("ANALYZE")
    circle = Circle(12.97, 77.59, 5)
    name, index, rest = _STATEMENTS[what]
    async with conn.transaction():
        await conn.execute(f"SET LOCAL plan_cache_mode = {plan}")
        explained = await conn.fetchval(
            f"EXPLAIN (FORMAT JSON) {getattr(nearby, name)}",
            *nearby._parameters(circle, circle.boxes[0]), *START, *rest,
        )  # fmt: skip
    assert index in explained
    used = nodes(json.loads(explained)[0]["Plan"])
    scanned = {n["Relation Name"] for n in used if n["Node Type"] == "Seq Scan"}
    assert not scanned & {"energy_listings", "user_addresses", "devices"}
    assert len(await around.find(what, circle)) > 50


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", ()) for node in nodes(part))]
