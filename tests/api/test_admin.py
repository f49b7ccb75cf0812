"""The routes for administrators: users, and the audit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from api.http import middleware
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.support.people import PASSWORD, Person, add_device, add_listing, add_user
from tests.support.waiting import eventually

USERS, AUDIT = "/api/v1/admin/users", "/api/v1/admin/audit"
LISTINGS = "/api/v1/marketplace/listings"


@pytest.fixture
async def admin(pool: Pool) -> Person:
    return await add_user(pool, "admin")


@pytest.fixture
async def host(pool: Pool) -> Person:
    return await add_user(pool, "host")


async def set_active(api: Api, admin: Person, person: Person, active: bool) -> dict[str, object]:
    body = {"is_active": active}
    user: dict[str, object] = data_of(
        await api.call("PATCH", f"{USERS}/{person.id}", admin, json=body)
    )
    return user


@pytest.mark.parametrize("role", ["buyer", "host", "investor"])
async def test_only_administrators_may_use_the_routes(api: Api, pool: Pool, role: str) -> None:
    person = await add_user(pool, role)
    for method, path in (
        ("GET", USERS),
        ("GET", f"{USERS}/{person.id}"),
        ("PATCH", f"{USERS}/{person.id}"),
        ("GET", AUDIT),
    ):
        response = await api.call(method, path, person, json={"is_active": True})
        assert (response.status_code, code_of(response)) == (403, "forbidden")
        assert code_of(await api.call(method, path)) == "bad_token"


async def test_an_invalid_query_or_change_is_named(api: Api, admin: Person) -> None:
    for query in ({"role": "king"}, {"is_active": "perhaps"}, {"q": ""}, {"q": "\x00"}):
        assert fields_of(await api.call("GET", USERS, admin, params=query)) == list(query)
    path = f"{USERS}/{admin.id}"
    for body in ({}, {"is_active": None}, {"is_active": True, "role": "buyer"}):
        field = "role" if "role" in body else "is_active"
        assert fields_of(await api.call("PATCH", path, admin, json=body)) == [field]
    unknown = f"{USERS}/00000000-0000-4000-8000-000000000000"
    for method in ("GET", "PATCH"):
        response = await api.call(method, unknown, admin, json={"is_active": False})
        assert (response.status_code, code_of(response)) == (404, "not_found")


async def test_users_are_listed_newest_first_page_by_page(
    api: Api, pool: Pool, admin: Person
) -> None:
    people = [admin] + [await add_user(pool, "buyer") for _ in range(4)]
    found, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await api.get(USERS, admin, **params)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [user["email"] for user in found] == [person.email for person in reversed(people)]
    assert "password_hash" not in found[0]
    assert found[0]["profile"] == {"monthly_demand_kwh": None}
    assert found[-1]["profile"] is None


async def test_users_are_found_by_role_state_and_a_part_of_name_or_email(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    buyer = await add_user(pool, "buyer")
    await pool.execute(
        "UPDATE users SET full_name = '100% Śrī_Devi', is_active = false WHERE id = $1", buyer.id
    )

    async def found(**where: object) -> list[str]:
        return [user["id"] for user in (await api.get(USERS, admin, **where))["items"]]

    assert await found(role="host") == [str(host.id)]
    assert await found(is_active=False) == [str(buyer.id)]
    assert await found(q=buyer.email.upper()) == [str(buyer.id)]
    assert await found(q="100% ŚRĪ_") == [str(buyer.id)]
    assert await found(q="1%0") == await found(q="host", role="buyer") == []
    assert (await api.get(f"{USERS}/{buyer.id}", admin))["is_active"] is False


async def test_administrators_can_not_deactivate_themselves(api: Api, admin: Person) -> None:
    response = await api.call("PATCH", f"{USERS}/{admin.id}", admin, json={"is_active": False})
    assert (response.status_code, code_of(response)) == (409, "own_account")
    assert (await set_active(api, admin, admin, True))["is_active"] is True


async def test_a_deactivated_user_is_refused_at_once_until_activated_again(
    api: Api, admin: Person, host: Person
) -> None:
    login = {"email": host.email, "password": PASSWORD}
    session = data_of(await api.call("POST", "/api/v1/auth/login", json=login))
    assert (await set_active(api, admin, host, False))["is_active"] is False
    assert code_of(await api.call("GET", "/api/v1/wallet", host)) == "account_inactive"
    assert code_of(await api.call("POST", "/api/v1/auth/login", json=login)) == "bad_credentials"
    token = {"refresh_token": session["refresh_token"]}
    assert code_of(await api.call("POST", "/api/v1/auth/refresh", json=token)) == "bad_token"
    assert (await set_active(api, admin, host, True))["is_active"] is True
    assert (await api.call("GET", "/api/v1/wallet", host)).is_success
    # Revoked tokens stay revoked.
    assert code_of(await api.call("POST", "/api/v1/auth/refresh", json=token)) == "bad_token"
    assert (await api.call("POST", "/api/v1/auth/login", json=login)).is_success


async def test_deactivating_a_seller_pauses_and_announces_each_listing_once(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    buyer, other = await add_user(pool, balance=100), await add_user(pool, "host")
    active = [await add_listing(pool, host) for _ in range(2)]
    theirs = await add_listing(pool, other)
    by_device, sold_out = [
        await add_listing(pool, host, device_id=await add_device(pool, host)) for _ in range(2)
    ]
    await pool.execute(
        "UPDATE energy_listings SET status = 'paused', paused_by = 'device' WHERE id = $1",
        by_device,
    )
    await pool.execute("UPDATE energy_listings SET status = 'sold' WHERE id = $1", sold_out)
    for _ in range(2):
        await set_active(api, admin, host, False)
    paused = {str(one) for one in [*active, by_device, sold_out]}
    rows = await pool.fetch("SELECT id::text, status, paused_by FROM energy_listings")
    assert {row["id"] for row in rows if row["paused_by"] == "seller"} == paused
    events = await pool.fetch("SELECT type, data->>'id' AS id FROM outbox ORDER BY id")
    # A listing that was paused before is not announced: nothing visible changed.
    assert sorted((e["type"], e["id"]) for e in events) == sorted(
        ("listing.paused", str(one)) for one in [*active, sold_out]
    )
    order = {"listing_id": str(active[0]), "energy_kwh": 1}
    response = await api.call("POST", "/api/v1/marketplace/purchase", buyer, json=order)
    assert code_of(response) == "listing_not_active"
    await set_active(api, admin, host, True)
    assert (await api.get(f"{LISTINGS}/{active[0]}", host))["status"] == "paused"
    resume = await api.call("PATCH", f"{LISTINGS}/{active[0]}", host, json={"status": "active"})
    assert data_of(resume)["status"] == "active"
    assert (await api.get(f"{LISTINGS}/{theirs}", host))["status"] == "active"


async def test_a_listing_created_during_a_deactivation_does_not_stay_open(
    api: Api, pool: Pool, host: Person
) -> None:
    listing_id = await add_listing(pool, host)
    await pool.execute("UPDATE energy_listings SET status = 'paused', paused_by = 'seller'")
    now = datetime.now(UTC)
    offer = {
        "energy_amount_kwh": 1, "price_per_kwh": 6, "latitude": 12.9, "longitude": 77.5,
        "available_from": now.isoformat(), "available_to": (now + timedelta(days=1)).isoformat(),
    }  # fmt: skip
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("UPDATE users SET is_active = false WHERE id = $1", host.id)
        asked = [
            asyncio.create_task(api.call("POST", LISTINGS, host, json=offer)),
            asyncio.create_task(
                api.call("PATCH", f"{LISTINGS}/{listing_id}", host, json={"status": "active"})
            ),
        ]
        await eventually(lambda: pool.fetchval(WAITING))
    answers = await asyncio.gather(*asked)
    assert [code_of(answer) for answer in answers] == ["account_inactive"] * 2
    assert await pool.fetch("SELECT FROM energy_listings WHERE status = 'active'") == []


async def test_concurrent_deactivations_and_purchases_neither_deadlock_nor_unbalance(
    api: Api, pool: Pool, admin: Person
) -> None:
    people = [await add_user(pool, "host", balance=1000) for _ in range(4)]
    listings = [await add_listing(pool, seller) for seller in people for _ in range(2)]

    async def buy(number: int) -> int:
        order = {"listing_id": str(listings[number % 8]), "energy_kwh": 1}
        buyer = people[(number + number // 8) % 4]
        answer = await api.call("POST", "/api/v1/marketplace/purchase", buyer, json=order)
        return answer.status_code

    *bought, _, _ = await asyncio.gather(
        *(buy(number) for number in range(40)),
        set_active(api, admin, people[0], False),
        set_active(api, admin, people[1], False),
    )
    assert set(bought) <= {201, 401, 409}
    assert (await api.get(AUDIT, admin))["ok"] is True


async def test_the_audit_recomputes_everything_and_names_what_is_wrong(
    api: Api, pool: Pool, admin: Person
) -> None:
    audit = await api.get(AUDIT, admin)
    assert audit["ok"] is True
    assert {"transfers", "wallets", "sold", "intervals"} <= {c["name"] for c in audit["checks"]}
    rich = [await add_user(pool) for _ in range(101)]
    await pool.execute(
        "UPDATE wallets SET balance = 1 WHERE user_id = ANY($1)", [p.id for p in rich]
    )
    audit = await api.get(AUDIT, admin)
    assert audit["ok"] is False
    [broken] = [check for check in audit["checks"] if not check["ok"]]
    assert (broken["name"], broken["rule"]) == ("wallets", "every wallet equals its entries")
    assert broken["offending_count"] == 101
    assert len(set(broken["offending"])) == 100
    assert set(broken["offending"]) <= {str(person.id) for person in rich}


async def test_one_audit_answers_all_requests_that_wait_for_it(
    api: Api, pool: Pool, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "REQUEST_TIMEOUT_S", 0.2)
    async with locked(pool, "ledger_transfers"):
        asked = [asyncio.create_task(api.get(AUDIT, admin)) for _ in range(3)]
        await eventually(lambda: pool.fetchval(AUDITS_WAITING))
        entries = await api.call("GET", "/api/v1/wallet/entries", await add_user(pool))
        assert entries.status_code == 503, "time is up for everything else"
        assert await pool.fetchval(AUDITS) == 1
    audits = await asyncio.gather(*asked)
    assert audits[0]["ok"] is True
    assert audits[0] == audits[1] == audits[2]
    assert await pool.fetchval(AUDITS) == 0


AUDITS = """
SELECT count(*) FROM pg_stat_activity
 WHERE application_name = 'solarhub-api-audit' AND datname = current_database()
"""
WAITING = """
SELECT count(*) = 2 FROM pg_stat_activity
 WHERE application_name = 'solarhub-api' AND datname = current_database()
   AND wait_event_type = 'Lock'
"""
AUDITS_WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity
 WHERE application_name = 'solarhub-api-audit' AND datname = current_database()
   AND wait_event_type = 'Lock'
"""


@asynccontextmanager
async def locked(pool: Pool, table: str) -> AsyncIterator[None]:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
