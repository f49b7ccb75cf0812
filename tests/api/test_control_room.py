"""The routes of the control room, and signing in by a link."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.settings import DatabaseSettings
from core.tokens import hash_of
from db import audit_results, flow, sign_ins
from db.flow import FeedFigures
from db.pool import Connection, Pool
from solarhub.admin import sign_in_link
from tests.api.conftest import Api, code_of, data_of, serving
from tests.support.people import Person, add_device, add_listing, add_user

ADMIN = "/api/v1/admin"
_MEASURE = "INSERT INTO telemetry (device_id, time, power_w) VALUES ($1, $2, $3)"
_SEEN = "UPDATE device_states SET status = 'online', last_seen_at = now() WHERE device_id = $1"


@pytest.fixture
async def admin(pool: Pool) -> Person:
    return await add_user(pool, "admin")


async def buy(api: Api, buyer: Person, listing_id: object, kwh: str) -> None:
    body = {"listing_id": str(listing_id), "energy_kwh": kwh}
    await api.post("/api/v1/marketplace/purchase", buyer, body)


async def test_the_map_shows_devices_with_their_power_and_active_listings(
    api: Api, pool: Pool, admin: Person
) -> None:
    host = await add_user(pool, "host")
    silent, device_id = await add_device(pool, host), await add_device(pool, host)
    await pool.execute(_SEEN, device_id)
    now = datetime.now(UTC)
    for ago_s, power_w in ((0, 1800.0), (60, 900.0)):
        await pool.execute(_MEASURE, device_id, now - timedelta(seconds=ago_s), power_w)
    listing_id = await add_listing(pool, host)
    paused = await add_listing(pool, host)
    await api.call("DELETE", f"/api/v1/marketplace/listings/{paused}", host)
    shown = await api.get(f"{ADMIN}/map", admin)
    states = {d["id"]: (d["status"], d["power_w"]) for d in shown["devices"]}
    assert states == {str(silent): ("pending", None), str(device_id): ("online", 1800.0)}
    assert [listing["id"] for listing in shown["listings"]] == [str(listing_id)]
    assert shown["tiles_url"] is None


async def test_the_flow_shows_the_last_quarter_of_an_hour_oldest_first(
    api: Api, pool: Pool, conn: Connection, admin: Person
) -> None:
    await flow.add(conn, events=7, outbox_depth=2, outbox_age_s=0.5, feed=FeedFigures(3, 4.0, 9.0))
    await flow.add(conn, events=1, outbox_depth=0, outbox_age_s=0.0, feed=None)
    await pool.execute("INSERT INTO flow_samples SELECT now() - interval '16 min', 0,0,0,0,0,0,0")
    samples = (await api.get(f"{ADMIN}/flow", admin))["samples"]
    assert [(s["events"], s["sockets"]) for s in samples] == [(7, 3), (1, None)]
    assert samples[0]["received"] == 0


async def test_old_samples_are_forgotten(conn: Connection) -> None:
    await conn.execute("INSERT INTO flow_samples SELECT now() - interval '2 h', 0,0,0,0,0,0,0")
    await flow.add(conn, events=0, outbox_depth=0, outbox_age_s=0.0, feed=None)
    await flow.delete_old(conn)
    assert await conn.fetchval("SELECT count(*) FROM flow_samples") == 1


async def test_the_market_sums_purchases_by_slot(api: Api, pool: Pool, admin: Person) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    listing_id = await add_listing(pool, host, kwh=10, price_per_kwh=6)
    await buy(api, buyer, listing_id, "1.5")
    await buy(api, buyer, listing_id, "0.5")
    market = await api.get(f"{ADMIN}/market", admin)
    assert market["listings"]["active"] == 1
    assert sum(slot["transactions"] for slot in market["slots"]) == 2
    assert sum(Decimal(slot["energy_kwh"]) for slot in market["slots"]) == 2
    assert {slot["average_price_per_kwh"] for slot in market["slots"]} == {"6.0000"}
    assert sum(Decimal(slot["platform_fees"]) for slot in market["slots"]) == Decimal("0.60")


async def test_trades_of_all_or_of_one_device_are_listed_with_names(
    api: Api, pool: Pool, admin: Person
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    device_id = await add_device(pool, host)
    for _ in range(2):
        await buy(api, buyer, await add_listing(pool, host), "1")
    await buy(api, buyer, await add_listing(pool, host, device_id=device_id), "1")
    page = await api.get(f"{ADMIN}/trades", admin, limit=2)
    rest = await api.get(f"{ADMIN}/trades", admin, limit=2, cursor=page["next_cursor"])
    assert [len(page["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    [trade] = (await api.get(f"{ADMIN}/trades", admin, device_id=str(device_id)))["items"]
    assert trade["device_id"] == str(device_id)
    assert (trade["buyer_name"], trade["seller_name"]) == ("Buyer", "Host")


async def test_the_result_of_the_last_audit_is_stored(api: Api, pool: Pool, admin: Person) -> None:
    assert await api.get(f"{ADMIN}/audit/last", admin) is None
    host = await add_user(pool, "host", balance=10)
    await pool.execute("UPDATE wallets SET balance = 11 WHERE user_id = $1", host.id)
    audit = await api.get(f"{ADMIN}/audit", admin)
    last = await api.get(f"{ADMIN}/audit/last", admin)
    assert last.pop("finished_at").endswith("Z")
    assert last == audit
    assert last["ok"] is False


async def test_the_number_of_stored_audits_is_limited(conn: Connection) -> None:
    for _ in range(103):
        await audit_results.save(conn, [])
    assert await conn.fetchval("SELECT count(*) FROM audit_results") == 100


async def test_a_sign_in_link_works_once(
    api: Api, database: DatabaseSettings, admin: Person
) -> None:
    link = await sign_in_link(database, admin.email, "http://hub.test")
    page, _, code = link.partition("#code=")
    assert page == "http://hub.test/"
    answers = await asyncio.gather(
        *(api.call("POST", "/api/v1/auth/code", json={"code": code}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    session = next(data_of(answer) for answer in answers if answer.is_success)
    assert session["user"]["email"] == admin.email


async def test_a_sign_in_code_expires(api: Api, conn: Connection, admin: Person) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    await sign_ins.add_code(conn, admin.id, hash_of("late"), past)
    assert code_of(await api.call("POST", "/api/v1/auth/code", json={"code": "late"})) == (
        "bad_token"
    )


async def test_a_code_of_a_deactivated_user_is_refused(
    api: Api, pool: Pool, database: DatabaseSettings, admin: Person
) -> None:
    code = (await sign_in_link(database, admin.email, "http://hub.test")).partition("=")[2]
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", admin.id)
    response = await api.call("POST", "/api/v1/auth/code", json={"code": code})
    assert code_of(response) == "bad_token"


async def test_the_page_allows_no_other_sources(database: DatabaseSettings) -> None:
    tiles = "https://{s}.tile.example.org/{z}/{x}/{y}.png"
    async with serving(database, map_tiles_url=tiles, realtime_url="wss://hub.test/ws") as api:
        page = await api.call("GET", "/")
        missing = await api.call("GET", "/static/none.js")
        outside = await api.call("GET", "/static/..%2fapp.py")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "img-src 'self' data: https://*.tile.example.org;" in policy
    assert "connect-src 'self' wss://hub.test;" in policy
    assert missing.status_code == outside.status_code == 404
    assert code_of(missing) == "no_such_path"


async def test_administrators_receive_events_of_devices(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    body = {"name": "Roof", "kind": "inverter", "capacity_w": 5000}
    device = await api.post("/api/v1/devices", host, body)
    path = f"/api/v1/devices/{device['id']}"
    data_of(await api.call("PATCH", path, host, json={"name": "Barn"}))
    data_of(await api.call("DELETE", path, host))
    events = await pool.fetch("SELECT type, channels, data FROM outbox ORDER BY id")
    assert [(e["type"], e["channels"], e["data"]["name"]) for e in events] == [
        ("device.registered", ["admin"], "Roof"),
        ("device.changed", ["admin"], "Barn"),
        ("device.removed", ["admin"], "Barn"),
    ]
    assert {e["data"]["id"] for e in events} == {device["id"]}
