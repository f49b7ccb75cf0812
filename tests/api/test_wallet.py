"""Top-ups and withdrawals, which the provider's signed webhook completes."""

import asyncio
import json
from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.payments.sandbox import Sandbox
from api.payments.webhooks import SIGNATURE_HEADER, sign
from core.settings import DatabaseSettings
from db import wallets
from db.audit import audit
from db.pool import Pool
from tests.api.conftest import WEBHOOK_SECRET, Api, code_of, data_of, fields_of, serving
from tests.support.people import Person, add_listing, add_user
from tests.support.waiting import eventually

WALLET, METHODS = "/api/v1/wallet", "/api/v1/payment-methods"
TOPUPS, WITHDRAWALS = f"{WALLET}/topups", f"{WALLET}/withdrawals"
WEBHOOK = "/api/v1/payments/webhook/sandbox"


@pytest.fixture
def silent_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the sandbox from completing orders: the test sends the webhooks."""

    async def never(self: Sandbox) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Sandbox, "run", never)


async def add_method(api: Api, person: Person, **changes: Any) -> str:
    body = {"kind": "upi", "label": "My UPI", "provider_ref": "tok_4fJk2", **changes}
    return str((await api.post(METHODS, person, body))["id"])


async def ask(
    api: Api, path: str, person: Person, amount: object, method: str, key: str | None = None
) -> httpx.Response:
    body = {"amount": amount, "payment_method_id": method}
    return await api.call("POST", path, person, json=body, key=key)


async def has_balance(api: Api, person: Person, expected: str) -> None:
    async def check() -> bool:
        assert (await api.get(WALLET, person))["balance"] == expected
        return True

    await eventually(check)


async def send_event(api: Api, event: Any, *, secret: str = WEBHOOK_SECRET) -> httpx.Response:
    """Send an event as the provider."""
    body = json.dumps(event).encode()
    return await api.call(
        "POST", WEBHOOK, content=body, headers={SIGNATURE_HEADER: sign(secret, body)}
    )


async def pending_order(pool: Pool, person: Person, kind: str = "topup") -> dict[str, Any]:
    """Add an order of 100 INR. Return the event that completes it."""
    order_id, transfer_id = uuid4(), None
    async with pool.acquire() as conn, conn.transaction():
        if kind == "withdrawal":
            transfer_id = await wallets.move(
                conn, kind=kind, reference_id=order_id, provider="sandbox", user_id=person.id,
                amount=Decimal(-100),
            )  # fmt: skip
        await conn.execute(
            "INSERT INTO payment_orders (id, user_id, provider, kind, amount, transfer_id)"
            " VALUES ($1, $2, 'sandbox', $3, 100, $4)",
            order_id, person.id, kind, transfer_id,
        )  # fmt: skip
    return {
        "event_id": f"evt-{order_id}",
        "type": "payment.succeeded",
        "order_id": str(order_id),
        "amount": "100.00",
    }


async def audit_passes(pool: Pool, database: DatabaseSettings) -> bool:
    async with pool.acquire() as conn:
        return all([check.ok async for check in audit(conn, database)])


async def test_a_topup_is_pending_until_the_provider_completes_it(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    buyer = await add_user(pool)
    response = await ask(api, TOPUPS, buyer, "250.5", await add_method(api, buyer))
    assert response.status_code == 201
    order = data_of(response)
    assert (order["status"], order["amount"], order["kind"]) == ("pending", "250.50", "topup")
    await has_balance(api, buyer, "250.50")
    [entry] = (await api.get(f"{WALLET}/entries", buyer))["items"]
    assert (entry["kind"], entry["amount"], entry["reference_id"]) == (
        "topup",
        "250.50",
        order["id"],
    )
    event = await pool.fetchrow("SELECT type, channels, data FROM outbox")
    assert event is not None
    assert event["type"] == "wallet.updated"
    assert event["channels"] == [f"user:{buyer.id}"]
    assert event["data"] == await api.get(WALLET, buyer)
    assert await audit_passes(pool, database)


async def test_a_repeated_topup_counts_once(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    method = await add_method(api, buyer)
    answers = await asyncio.gather(
        *(ask(api, TOPUPS, buyer, 100, method, key="k") for _ in range(10))
    )
    assert len({data_of(answer)["id"] for answer in answers}) == 1
    replayed = Counter(answer.headers.get("Idempotent-Replayed") for answer in answers)
    assert replayed == {"true": 9, None: 1}
    other = await ask(api, TOPUPS, buyer, 101, method, key="k")
    assert (other.status_code, code_of(other)) == (409, "idempotency_key_reused")
    await has_balance(api, buyer, "100.00")
    assert await pool.fetchval("SELECT count(*) FROM payment_orders") == 1


async def test_an_order_from_before_a_crash_is_completed_after_it(
    database: DatabaseSettings, pool: Pool
) -> None:
    buyer = await add_user(pool)
    await pending_order(pool, buyer)
    async with serving(database) as api:
        await has_balance(api, buyer, "100.00")


@pytest.mark.parametrize("signature", [None, "", "sha256=", "sha256=" + "0" * 64, "é"])
@pytest.mark.usefixtures("silent_provider")
async def test_a_forged_signature_changes_nothing(
    api: Api, pool: Pool, signature: str | None
) -> None:
    buyer = await add_user(pool)
    body = json.dumps(await pending_order(pool, buyer)).encode()
    headers = [] if signature is None else [(SIGNATURE_HEADER.encode(), signature.encode())]
    response = await api.http.post(WEBHOOK, content=body, headers=headers)
    assert (response.status_code, code_of(response)) == (401, "bad_signature")
    assert await pool.fetchval("SELECT count(*) FROM payment_events") == 0
    assert (await api.get(WALLET, buyer))["balance"] == "0.00"


@pytest.mark.usefixtures("silent_provider")
async def test_a_signature_of_another_secret_or_body_is_refused(api: Api, pool: Pool) -> None:
    event = await pending_order(pool, await add_user(pool))
    assert code_of(await send_event(api, event, secret="another secret")) == "bad_signature"
    signature = sign(WEBHOOK_SECRET, json.dumps(event).encode())
    tampered = json.dumps(event | {"amount": "1000.00"}).encode()
    response = await api.call(
        "POST", WEBHOOK, content=tampered, headers={SIGNATURE_HEADER: signature}
    )
    assert code_of(response) == "bad_signature"


@pytest.mark.usefixtures("silent_provider")
async def test_a_repeated_event_counts_once(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    buyer = await add_user(pool)
    event = await pending_order(pool, buyer)
    answers = await asyncio.gather(*(send_event(api, event) for _ in range(10)))
    assert Counter(data_of(answer)["counted"] for answer in answers) == {True: 1, False: 9}
    # Another event for a settled order has no effect either.
    late = event | {"event_id": "another", "type": "payment.failed"}
    assert data_of(await send_event(api, late))["counted"] is False
    assert (await api.get(WALLET, buyer))["balance"] == "100.00"
    assert await audit_passes(pool, database)


@pytest.mark.usefixtures("silent_provider")
async def test_an_event_without_a_matching_order_is_refused(api: Api, pool: Pool) -> None:
    event = await pending_order(pool, await add_user(pool))
    unknown = await send_event(api, event | {"order_id": str(uuid4())})
    assert (unknown.status_code, code_of(unknown)) == (404, "not_found")
    assert fields_of(await send_event(api, event | {"amount": "99.99"})) == ["amount"]
    assert fields_of(await send_event(api, event | {"type": "payment.odd"})) == ["type"]
    nowhere = await api.call("POST", "/api/v1/payments/webhook/nobody", json=event)
    assert (nowhere.status_code, code_of(nowhere)) == (404, "not_found")


@pytest.mark.usefixtures("silent_provider")
async def test_a_failed_topup_leaves_the_balance_unchanged(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    event = await pending_order(pool, buyer) | {"type": "payment.failed"}
    assert data_of(await send_event(api, event))["counted"] is True
    assert (await api.get(WALLET, buyer))["balance"] == "0.00"
    assert await pool.fetchval("SELECT status FROM payment_orders") == "failed"


async def test_a_withdrawal_leaves_the_wallet_at_once_and_only_once(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    buyer = await add_user(pool, balance=150)
    method = await add_method(api, buyer)
    answers = await asyncio.gather(*(ask(api, WITHDRAWALS, buyer, 100, method) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    refused = {code_of(answer) for answer in answers if answer.status_code == 409}
    assert refused == {"insufficient_balance"}
    assert (await api.get(WALLET, buyer))["balance"] == "50.00"

    async def completed() -> bool:
        return bool(await pool.fetchval("SELECT status = 'completed' FROM payment_orders"))

    await eventually(completed)
    assert (await api.get(WALLET, buyer))["balance"] == "50.00"
    assert await audit_passes(pool, database)


async def test_concurrent_withdrawals_and_purchases_never_overdraw_a_wallet(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    buyer = await add_user(pool, balance=500)
    method = await add_method(api, buyer)
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=1000, price_per_kwh=10)
    order = {"listing_id": str(listing_id), "energy_kwh": 5}
    answers = await asyncio.gather(
        *(ask(api, WITHDRAWALS, buyer, 50, method) for _ in range(10)),
        *(api.call("POST", "/api/v1/marketplace/purchase", buyer, json=order) for _ in range(10)),
    )
    outcomes = Counter(answer.status_code for answer in answers)
    assert outcomes == {201: 10, 409: 10}
    refused = {code_of(answer) for answer in answers if answer.status_code == 409}
    assert refused == {"insufficient_balance"}
    assert (await api.get(WALLET, buyer))["balance"] == "0.00"
    assert await audit_passes(pool, database)


@pytest.mark.usefixtures("silent_provider")
async def test_a_failed_withdrawal_is_returned_to_the_wallet(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    buyer = await add_user(pool, balance=150)
    event = await pending_order(pool, buyer, "withdrawal") | {"type": "payment.failed"}
    assert data_of(await send_event(api, event))["counted"] is True
    [newest, *_] = (await api.get(f"{WALLET}/entries", buyer))["items"]
    assert (newest["kind"], newest["amount"]) == ("reversal", "100.00")
    assert await audit_passes(pool, database)


async def test_each_entry_has_its_reason(api: Api, pool: Pool) -> None:
    buyer, seller = await add_user(pool, balance=100), await add_user(pool, "host")
    listing_id = await add_listing(pool, seller, price_per_kwh=6)
    order = {"listing_id": str(listing_id), "energy_kwh": 2}
    bought = await api.post("/api/v1/marketplace/purchase", buyer, order)
    part = await api.get(f"{WALLET}/entries", buyer, limit=1)
    [paid] = part["items"]
    assert (paid["kind"], paid["amount"], paid["energy_kwh"]) == ("purchase", "-12.00", "2.000")
    assert (paid["reference_id"], paid["listing_id"]) == (bought["id"], str(listing_id))
    [earlier] = (await api.get(f"{WALLET}/entries", buyer, cursor=part["next_cursor"]))["items"]
    assert earlier["kind"] == "topup"
    [earned] = (await api.get(f"{WALLET}/entries", seller))["items"]
    assert (earned["kind"], earned["amount"]) == ("sale", "11.40")


async def test_payment_methods_are_added_listed_and_removed(api: Api, pool: Pool) -> None:
    buyer, other = await add_user(pool), await add_user(pool)
    first, second = await add_method(api, buyer), await add_method(api, buyer, is_default=True)
    listed = (await api.get(METHODS, buyer))["items"]
    assert [(method["id"], method["is_default"]) for method in listed] == [
        (second, True),
        (first, False),
    ]
    assert (await api.get(METHODS, other))["items"] == []
    assert code_of(await api.call("DELETE", f"{METHODS}/{first}", other)) == "not_found"
    assert (await api.call("DELETE", f"{METHODS}/{first}", buyer)).is_success
    assert len((await api.get(METHODS, buyer))["items"]) == 1


async def test_one_of_several_concurrent_first_methods_is_the_default(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    await asyncio.gather(*(add_method(api, buyer, is_default=n % 2 == 0) for n in range(6)))
    assert await pool.fetchval("SELECT count(*) FROM payment_methods WHERE is_default") == 1


async def test_numbers_of_cards_and_accounts_are_never_stored(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    for field in ("provider_ref", "label"):
        for number in (
            "4111 1111 1111 1111", "4111-1111-1111-1111", "123456789",
            "４１１１　１１１１　１１１１　１１１１", "tok 4111\u20131111\u20131111\u20131111",
        ):  # fmt: skip
            body = {"kind": "card", "label": "Card", "provider_ref": "tok_1", field: number}
            assert fields_of(await api.call("POST", METHODS, buyer, json=body)) == [field]


async def test_a_topup_needs_a_valid_amount_and_a_method_of_the_user(api: Api, pool: Pool) -> None:
    buyer, other = await add_user(pool), await add_user(pool)
    method = await add_method(api, other)
    refused = await ask(api, TOPUPS, buyer, 1, method)
    assert (refused.status_code, code_of(refused)) == (404, "not_found")
    for amount in (0, -1, "0.001", "1e3", Decimal("1e12").__str__() + "0"):
        assert fields_of(await ask(api, TOPUPS, buyer, amount, method)) == ["amount"], amount


async def test_an_admin_has_no_wallet(api: Api, pool: Pool) -> None:
    admin = await add_user(pool, "admin")
    assert code_of(await api.call("GET", WALLET, admin)) == "forbidden"
