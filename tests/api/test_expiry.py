"""The deletion of expired idempotency keys and refresh tokens."""

import asyncio
from datetime import timedelta

from api.http import expiry
from core.settings import DatabaseSettings
from db import idempotency, listings, locks, sign_ins
from db.locks import AdvisoryLock
from db.pool import Connection, Pool
from tests.api.conftest import Api, code_of, data_of, serving
from tests.support import plans
from tests.support.people import PASSWORD, add_listing, add_user
from tests.support.waiting import eventually

WEEK = timedelta(days=7)
PURCHASE = "/api/v1/marketplace/purchase"

_KEYS = """
INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id, created_at)
SELECT $1, 'purchase', n::text, '', gen_random_uuid(), now() - n * interval '1 day'
  FROM generate_series(1, 20) n
"""
_TOKENS = """
INSERT INTO refresh_tokens (family_id, user_id, token_hash, expires_at, used_at, revoked_at)
SELECT gen_random_uuid(), $1, n::text::bytea, now() + (n - 5) * interval '1 day',
       now() - interval '20 days', CASE WHEN n > 15 THEN now() - (18 - n) * interval '1 day' END
  FROM generate_series(1, 20) n
"""

_MANY_KEYS = """
INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id, created_at)
SELECT $1, 'purchase', n::text, '', gen_random_uuid(), now() - n * interval '1 second'
  FROM generate_series(1, 20000) n
"""
_MANY_TOKENS = """
INSERT INTO refresh_tokens (family_id, user_id, token_hash, expires_at, used_at, revoked_at)
SELECT gen_random_uuid(), $1, n::text::bytea, now() + (n - 100) * interval '1 minute', now(),
       CASE WHEN n % 20 = 0 THEN now() - n * interval '1 minute' END
  FROM generate_series(1, 20000) n
"""


async def test_expired_keys_and_tokens_are_deleted_in_batches(pool: Pool) -> None:
    buyer = await add_user(pool)
    await pool.execute(_KEYS, buyer.id)
    await pool.execute(_TOKENS, buyer.id)
    runs = 1
    while await expiry.delete_expired(pool, WEEK, limit=3):
        runs += 1
    assert runs == 5
    keys = await pool.fetch("SELECT key FROM idempotency_keys ORDER BY created_at DESC")
    assert [row["key"] for row in keys] == [str(n) for n in range(1, 7)]
    # 1 to 5 had expired, 16 and 17 were revoked a day ago. Used tokens are kept until they expire.
    tokens = await pool.fetch("SELECT token_hash FROM refresh_tokens")
    assert {int(row["token_hash"]) for row in tokens} == {*range(6, 16), 18, 19, 20}


async def test_one_of_several_processes_deletes(pool: Pool) -> None:
    await pool.execute(_KEYS, (await add_user(pool)).id)
    async with pool.acquire() as conn, conn.transaction():
        assert await locks.try_lock_until_commit(conn, AdvisoryLock.EXPIRY)
        assert not await expiry.delete_expired(pool, WEEK, limit=1)
    assert await expiry.delete_expired(pool, WEEK, limit=1)


async def test_the_api_deletes_expired_keys(database: DatabaseSettings, pool: Pool) -> None:
    await pool.execute(_KEYS, (await add_user(pool)).id)

    async def are_deleted() -> bool:
        return await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 1

    async with serving(database, idempotency_ttl=timedelta(days=1.5)):
        await eventually(are_deleted)


async def test_a_key_buys_once_until_it_expires(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    order = {"listing_id": str(listing_id), "energy_kwh": 1}
    first = await api.call("POST", PURCHASE, buyer, key="k", json=order)
    again = await api.call("POST", PURCHASE, buyer, key="k", json=order)
    assert data_of(again)["id"] == data_of(first)["id"]
    await pool.execute("UPDATE idempotency_keys SET created_at = now() - interval '8 days'")
    await expiry.delete_expired(pool, WEEK)
    later = await api.call("POST", PURCHASE, buyer, key="k", json=order)
    assert data_of(later)["id"] != data_of(first)["id"]


async def test_a_key_that_is_deleted_during_a_claim_is_claimed(pool: Pool) -> None:
    buyer = await add_user(pool)
    await pool.execute(_KEYS, buyer.id)
    wanted = {
        "user_id": buyer.id, "operation": "purchase", "key": "20",
        "request_hash": b"other", "result": buyer.id,
    }  # fmt: skip
    async with pool.acquire() as deleting, pool.acquire() as claiming:
        change = deleting.transaction()
        await change.start()
        assert await idempotency.forget(deleting, older_than=WEEK, limit=100) == 14
        claim = asyncio.create_task(idempotency.claim(claiming, **wanted))
        await eventually(lambda: _is_blocked(pool))
        await change.commit()
        assert await claim is None


async def _is_blocked(pool: Pool) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    )


async def test_a_used_token_revokes_its_family_until_it_expires(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    body = {"email": host.email, "password": PASSWORD}
    first = data_of(await api.call("POST", "/api/v1/auth/login", json=body))

    async def renew(token: str) -> str:
        answer = await api.call("POST", "/api/v1/auth/refresh", json={"refresh_token": token})
        return str(data_of(answer)["refresh_token"]) if answer.is_success else code_of(answer)

    second = await renew(first["refresh_token"])
    await pool.execute(
        "UPDATE refresh_tokens SET used_at = used_at - interval '29 days' WHERE used_at IS NOT NULL"
    )
    await expiry.delete_expired(pool, WEEK)
    assert await renew(first["refresh_token"]) == "bad_token"
    assert await renew(second) == "bad_token"


async def test_expired_rows_are_found_by_an_index(conn: Connection) -> None:
    user_id = (await add_user(conn)).id
    for insert in (_MANY_KEYS, _MANY_TOKENS):
        await conn.execute(insert, user_id)
    await conn.execute("VACUUM ANALYZE idempotency_keys, refresh_tokens")
    statements: list[tuple[str, str, tuple[object, ...]]] = [
        (idempotency._FORGET, "idempotency_keys_oldest", (timedelta(hours=5), 10)),
        (sign_ins._DELETE_EXPIRED, "refresh_tokens_expiry", (10,)),
        (sign_ins._DELETE_REVOKED, "refresh_tokens_revoked", (10,)),
        (sign_ins._COUNT_FAMILIES, "refresh_tokens_good", (user_id,)),
        (listings._OPEN_OF_SELLER, "energy_listings_open_of_seller", (user_id,)),
    ]
    for statement, index, args in statements:
        plan = await plans.run(conn, statement, *args, mode="force_generic_plan")
        assert index in plan.indexes
        assert plan.buffers < 200
