"""Items set aside: a payment that can't be completed delays no other, and can be retried."""

from decimal import Decimal

from core.enums import Queue
from core.settings import DatabaseSettings
from core.units import BALANCE_MAX
from db import failed_items
from db.audit import audit
from db.failed_items import TRIES
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of
from tests.api.test_wallet import TOPUPS, add_method, ask, has_balance, pending_order
from tests.support.people import Person, add_user
from tests.support.waiting import eventually

SET_ASIDE = "/api/v1/admin/set-aside"
_AN_HOUR_AGO = """
UPDATE payment_orders SET created_at = created_at - interval '1 hour' WHERE status = 'pending'
"""
_DUE_AT_ONCE = "UPDATE failed_items SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL"


async def poison(pool: Pool, person: Person, count: int) -> set[str]:
    """Add top-ups that are older than all others and exceed the limit of the wallet."""
    orders = {(await pending_order(pool, person))["order_id"] for _ in range(count)}
    await pool.execute(_AN_HOUR_AGO)
    return orders


async def test_topups_that_exceed_a_wallet_delay_no_other_and_are_set_aside(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    rich, buyer = await add_user(pool, balance=BALANCE_MAX), await add_user(pool)
    admin, method = await add_user(pool, "admin"), await add_method(api, buyer)
    orders = await poison(pool, rich, 25)
    assert (await ask(api, TOPUPS, buyer, 10, method)).is_success
    await has_balance(api, buyer, "10.00")

    async def all_are_set_aside() -> bool:
        await pool.execute(_DUE_AT_ONCE)
        assert (await ask(api, TOPUPS, buyer, "0.01", method)).is_success  # wakes the provider
        waiting = "SELECT count(*) FROM failed_items WHERE set_aside_at IS NOT NULL"
        return bool(await pool.fetchval(waiting) == len(orders))

    await eventually(all_are_set_aside, within_s=60)
    listed = (await api.get(SET_ASIDE, admin, limit=100))["items"]
    assert {one["item"] for one in listed} == orders
    assert {(one["queue"], one["tries"]) for one in listed} == {("payments", TRIES)}
    assert "400 wallet_limit" in listed[0]["error"]
    assert listed[0]["data"] == {
        "kind": "topup", "amount": "100.00", "user_id": str(rich.id),
        "created_at": listed[0]["data"]["created_at"],
    }  # fmt: skip

    # The wallet gets room, and the order is retried.
    spent = Decimal(200)
    await pool.execute(
        """
        WITH transfer AS (
            INSERT INTO ledger_transfers (kind, reference_id)
            VALUES ('withdrawal', gen_random_uuid()) RETURNING id
        ), entries AS (
            INSERT INTO ledger_entries (transfer_id, account, amount)
            SELECT id, 'wallet:' || $1::uuid, -$2::numeric FROM transfer
            UNION ALL SELECT id, 'external:sandbox', $2::numeric FROM transfer
        )
        UPDATE wallets SET balance = balance - $2::numeric WHERE user_id = $1::uuid
        """,
        rich.id,
        spent,
    )
    again = listed[0]
    assert data_of(await api.call("POST", f"{SET_ASIDE}/{again['id']}/retry", admin)) == again
    await ask(api, TOPUPS, buyer, "0.01", method)
    await has_balance(api, rich, str(BALANCE_MAX - 100))
    assert len((await api.get(SET_ASIDE, admin, limit=100))["items"]) == 24
    async with pool.acquire() as conn:
        broken = {check.name async for check in audit(conn, database) if not check.ok}
    assert "wallets" not in broken


async def test_an_order_that_fits_no_webhook_ends_no_process(api: Api, pool: Pool) -> None:
    """Such an order stems from a version without a limit of amounts."""
    buyer = await add_user(pool)
    [order] = await poison(pool, buyer, 1)
    await pool.execute("UPDATE payment_orders SET amount = 99999999999.99")
    assert (await ask(api, TOPUPS, buyer, 10, await add_method(api, buyer))).is_success
    await has_balance(api, buyer, "10.00")
    noted = await pool.fetchrow("SELECT item, error FROM failed_items")
    assert noted is not None
    assert noted["item"] == order
    assert "amount" in noted["error"]


async def test_administrators_list_items_set_aside_newest_first_by_page(
    api: Api, pool: Pool
) -> None:
    admin = await add_user(pool, "admin")
    for n in range(5):
        for _ in range(TRIES):
            await failed_items.note(pool, Queue.EXPIRY, n, "stumbled")
    await failed_items.note(pool, Queue.EXPIRY, "tried again", "stumbled")
    first = await api.get(SET_ASIDE, admin, limit=3)
    rest = await api.get(SET_ASIDE, admin, limit=3, cursor=first["next_cursor"])
    assert [one["item"] for one in first["items"] + rest["items"]] == ["4", "3", "2", "1", "0"]
    assert rest["next_cursor"] is None
    for role in ("buyer", "host", "investor"):
        person = await add_user(pool, role)
        assert code_of(await api.call("GET", SET_ASIDE, person)) == "forbidden"
        retried = await api.call("POST", f"{SET_ASIDE}/{first['items'][0]['id']}/retry", person)
        assert code_of(retried) == "forbidden"


async def test_an_event_can_not_be_put_back(api: Api, pool: Pool) -> None:
    admin = await add_user(pool, "admin")
    for _ in range(TRIES):
        await failed_items.note(pool, Queue.EVENTS, 7, "refused")
    [item] = (await api.get(SET_ASIDE, admin))["items"]
    refused = await api.call("POST", f"{SET_ASIDE}/{item['id']}/retry", admin)
    assert (refused.status_code, code_of(refused)) == (409, "gone_from_queue")
    assert len((await api.get(SET_ASIDE, admin))["items"]) == 1
