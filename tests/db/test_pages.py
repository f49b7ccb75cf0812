"""Page 1,000 of a list costs as much as page 1, by one plan for all calls."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from core.settings import DatabaseSettings
from db import listing_pages
from db.listing_pages import Listed, ListingFilter
from db.pool import Connection, open_pool
from tests.support import plans
from tests.support.people import add_device, add_user

NEWEST = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
CHEAPEST = (Decimal(-1), UUID(int=0))
READER = uuid4()
PAGE, LISTINGS = 20, 50_000
MODES = ("force_generic_plan", "force_custom_plan")

# Half of all listings belong to one seller, half to one device, and half are active: 25,000 each.
# All other sellers and devices have 50 each.
_ADD = """
INSERT INTO energy_listings (seller_id, device_id, status, closed_at, stated_kwh, price_per_kwh,
                             exact_latitude, exact_longitude, available_from, available_to,
                             created_at)
SELECT ($1::uuid[])[CASE WHEN n % 2 = 0 THEN 1 ELSE 2 + n / 2 % 500 END],
       ($2::uuid[])[CASE WHEN n / 2 % 2 = 0 THEN 1 ELSE 2 + n / 4 % 500 END],
       CASE WHEN n / 4 % 2 = 0 THEN 'active' ELSE 'expired' END,
       CASE WHEN n / 4 % 2 = 0 THEN NULL ELSE now() END,
       1 + n % 50, 1 + n * 7919 % 1000 * 0.01, 12.97, 77.59, now(), now() + interval '1 day',
       now() - n * interval '1 second'
  FROM generate_series($3::int, $4::int) n
"""
_SELLERS = """
INSERT INTO users (email, password_hash, full_name, role)
SELECT n || '@example.org', '!', 'Host', 'host' FROM generate_series(1, 501) n RETURNING id
"""
_DEVICES = """
INSERT INTO devices (owner_id, name, kind, capacity_w, credential_hash)
SELECT owner_id, 'Roof', 'inverter', 5000, '' FROM unnest($1::uuid[]) AS owner_id RETURNING id
"""


async def fill(conn: Connection) -> dict[str, ListingFilter]:
    """Many listings, and conditions that select half of them."""
    sellers = [row["id"] for row in await conn.fetch(_SELLERS)]
    devices = [row["id"] for row in await conn.fetch(_DEVICES, sellers)]
    for begin in range(0, LISTINGS, 10_000):
        await conn.execute(_ADD, sellers, devices, begin + 1, begin + 10_000)
    await conn.execute("VACUUM ANALYZE energy_listings")
    return {
        "all": ListingFilter(),
        "status": ListingFilter(status="active"),
        "seller": ListingFilter(seller_id=sellers[0]),
        "device": ListingFilter(device_id=devices[0]),
    }


_INDEXES = {
    ("newest", "all"): "energy_listings_newest",
    ("newest", "status"): "energy_listings_status_newest",
    ("newest", "seller"): "energy_listings_seller_newest",
    ("newest", "device"): "energy_listings_device_newest",
    ("cheapest", "all"): "energy_listings_price",
    ("cheapest", "status"): "energy_listings_status_price",
}


def statement_of(order: str, where: ListingFilter) -> tuple[str, tuple[object, ...]]:
    name = "_NEWEST" if order == "newest" else "_CHEAPEST"
    endings = ("", "_OF_STATUS", "_OF_SELLER", "_OF_DEVICE")
    statements: Any = tuple(getattr(listing_pages, name + ending) for ending in endings)
    return listing_pages._narrowest(statements, where)


async def part(
    conn: Connection, order: str, where: ListingFilter, key: Any, limit: int
) -> list[Listed]:
    if order == "newest":
        return await listing_pages.newest(conn, where, reader_id=READER, before=key, limit=limit)
    return await listing_pages.cheapest(conn, where, reader_id=READER, after=key, limit=limit)


def key_of(order: str, listing: Listed) -> tuple[Any, UUID]:
    return (listing.created_at if order == "newest" else listing.price_per_kwh), listing.id


async def test_page_1000_reads_no_more_than_page_1(conn: Connection) -> None:
    filters = await fill(conn)
    for (order, selected), index in _INDEXES.items():
        where = filters[selected]
        first = key = NEWEST if order == "newest" else CHEAPEST
        for _ in range(999 * PAGE // 100 + 1):
            key = key_of(order, (await part(conn, order, where, key, 100))[-1])
        statement, chosen = statement_of(order, where)
        page_1, page_1000 = [
            await plans.run(
                conn, statement, *at, None, None, PAGE + 1, READER, *chosen, mode=MODES[0]
            )
            for at in (first, key)
        ]
        told = f"{order} of {selected}"
        assert page_1.indexes == page_1000.indexes == {index}, told
        assert page_1000.rows_read(index) == PAGE + 1, told
        assert page_1000.buffers <= page_1.buffers * 1.2 + 5, told
        # A plan for these values may also use that half of all listings are selected.
        planned_anew = await plans.run(
            conn, statement, *key, None, None, PAGE + 1, READER, *chosen, mode=MODES[1]
        )
        assert planned_anew.buffers <= 3 * page_1.buffers, told


async def test_the_api_plans_once(database: DatabaseSettings, conn: Connection) -> None:
    """Even if PostgreSQL expects fewer rows for the values of one call than for any."""
    filters = await fill(conn)
    async with (
        open_pool(database, application_name="test", plan_once=True) as pool,
        pool.acquire() as api,
    ):
        for _ in range(3):
            for where in filters.values():
                await part(api, "newest", where, NEWEST, PAGE)
                await part(api, "cheapest", where, CHEAPEST, PAGE)
        calls = await api.fetchrow(
            "SELECT sum(generic_plans) AS plan_kept, sum(custom_plans) AS planned_anew"
            "  FROM pg_prepared_statements WHERE strpos(statement, $1) > 0",
            "FROM energy_listings",
        )
    assert calls is not None
    assert dict(calls) == {"plan_kept": 3 * 2 * len(filters), "planned_anew": 0}


async def test_the_format_of_an_instant_is_inlined_in_the_statement(conn: Connection) -> None:
    """A function call would take longer than the rest of a listing's JSON."""
    for shown in ("listing_text(l, NULL)", "listing_text(l, l.device_id)"):
        rows = await conn.fetch(f"EXPLAIN VERBOSE SELECT {shown} FROM energy_listings l")
        explained = "".join(row[0] for row in rows)
        assert "to_char" in explained
        assert "rfc3339" not in explained


async def test_a_search_without_results_reads_few_rows(conn: Connection) -> None:
    """Even if the statistics let PostgreSQL expect many results."""
    await fill(conn)
    nothing = [
        ListingFilter(status="cancelled"),
        ListingFilter(seller_id=(await add_user(conn, "host")).id),
        ListingFilter(device_id=await add_device(conn, await add_user(conn, "host"))),
        ListingFilter(device_id=uuid4(), seller_id=uuid4(), status="sold"),
    ]
    for order, key in (("newest", NEWEST), ("cheapest", CHEAPEST)):
        for where in nothing:
            statement, chosen = statement_of(order, where)
            for mode in MODES:
                plan = await plans.run(
                    conn, statement, *key, None, None, 21, READER, *chosen, mode=mode
                )  # fmt: skip
                assert plan.buffers < 10, (order, where, mode)


async def test_a_scan_of_the_cheapest_ends_at_the_highest_price(conn: Connection) -> None:
    filters = await fill(conn)
    for selected in ("all", "status"):
        statement, chosen = statement_of("cheapest", filters[selected])
        last = Decimal(2), UUID(int=2**128 - 1)
        plan = await plans.run(conn, statement, *last, None, 2, 21, READER, *chosen, mode=MODES[0])
        assert plan.buffers < 10
    found = await part(
        conn, "cheapest", ListingFilter(status="active", max_price=Decimal(2)), CHEAPEST, 101
    )
    assert found[-1].price_per_kwh <= 2


async def test_all_conditions_apply_together(conn: Connection) -> None:
    halves = await fill(conn)
    seller_id, device_id = halves["seller"].seller_id, halves["device"].device_id
    filters = ListingFilter("active", seller_id, device_id, Decimal(10), Decimal(5))
    expected = await conn.fetch(
        "SELECT id FROM energy_listings WHERE status = 'active' AND seller_id = $1"
        " AND device_id = $2 AND energy_amount_kwh >= 10 AND price_per_kwh <= 5"
        " ORDER BY price_per_kwh, id LIMIT 101",
        seller_id,
        device_id,
    )
    found = await listing_pages.cheapest(conn, filters, reader_id=READER, after=CHEAPEST, limit=101)
    assert [listing.id for listing in found] == [row["id"] for row in expected]
    assert found
