"""A good request for every route, and one for each way in which a request can be wrong."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from core.units import rfc3339
from db.pool import Pool
from tests.api.test_every_route import Operation
from tests.support.people import PASSWORD, Person, add_device, add_listing, add_purchase, add_user

JSON = {"Content-Type": "application/json"}
NOW = datetime.now(UTC)
WINDOW = {"available_from": rfc3339(NOW), "available_to": rfc3339(NOW + timedelta(days=1))}
PLACE = {"latitude": 12.9716, "longitude": 77.5946}
NEARBY = {"lat": "12.97", "lon": "77.59", "radius_km": "5"}


@dataclass(slots=True)
class World:
    """A caller of each role, and things that the callers may use."""

    people: dict[str, Person]
    ids: dict[str, UUID | str]
    funded_device: UUID
    other_listing: UUID
    payment: UUID
    refresh_tokens: list[str] = field(default_factory=list)


async def make_world(pool: Pool) -> World:
    people = {
        role: await add_user(pool, role, balance=1000) for role in ("buyer", "host", "investor")
    }
    people["admin"] = await add_user(pool, "admin")
    device = await add_device(pool, people["host"])
    # At places of their own: what is nearby is sorted by distance, and then by random ids.
    funded = await add_device(pool, people["host"], place=(12.98, 77.6))
    await pool.execute(
        "UPDATE devices SET funding_target = 1000, revenue_share = 0.5 WHERE id = $1", funded
    )
    listing = await add_listing(pool, people["host"])
    other_listing = await add_listing(pool, people["host"], kwh=1000, place=(12.98, 77.6))
    method = "INSERT INTO payment_methods (user_id, kind, label, provider, provider_ref)"
    payment = "INSERT INTO payment_orders (user_id, provider, kind, amount, status)"
    address = "INSERT INTO user_addresses (user_id, latitude, longitude)"
    failed = "INSERT INTO failed_items (queue, item, error, set_aside_at)"
    ids = {
        "device_id": device,
        "listing_id": listing,
        "transaction_id": await add_purchase(pool, people["buyer"], listing),
        "user_id": people["buyer"].id,
        "method_id": await pool.fetchval(
            f"{method} VALUES ($1, 'upi', 'UPI', 'sandbox', 'tok') RETURNING id", people["buyer"].id
        ),
        "address_id": await pool.fetchval(
            f"{address} VALUES ($1, 12, 77) RETURNING id", people["buyer"].id
        ),
        "item_id": await pool.fetchval(
            f"{failed} VALUES ('presence', 'device', 'failed', now()) RETURNING id"
        ),
        "provider": "sandbox",
    }
    order = await pool.fetchval(
        f"{payment} VALUES ($1, 'sandbox', 'topup', 5, 'pending') RETURNING id", people["buyer"].id
    )
    return World(people, ids, funded, other_listing, order)


def good_bodies(world: World) -> dict[str, Any]:
    """Return the body of a good request, for every route that takes one."""
    method = str(world.ids["method_id"])
    listing, device = str(world.other_listing), str(world.funded_device)
    return {
        "POST /api/v1/marketplace/purchase": {"listing_id": listing, "energy_kwh": "1.5"},
        "POST /api/v1/marketplace/listings": {
            "energy_amount_kwh": 1, "price_per_kwh": 6.25, **PLACE, **WINDOW,
        },
        "PATCH /api/v1/marketplace/listings/{listing_id}": {"price_per_kwh": "7"},
        "PUT /api/v1/location/update": PLACE,
        "POST /api/v1/location/addresses": {"label": "Home", **PLACE},
        "POST /api/v1/devices": {"name": "Roof", "kind": "inverter", "capacity_w": 5000},
        "PATCH /api/v1/devices/{device_id}": {"name": "Shed"},
        "POST /api/v1/wallet/topups": {"amount": "5.00", "payment_method_id": method},
        "POST /api/v1/wallet/withdrawals": {"amount": 5, "payment_method_id": method},
        "POST /api/v1/payment-methods": {"kind": "upi", "label": "Mine", "provider_ref": "tok_1"},
        "POST /api/v1/investments": {"device_id": device, "amount": "12.50"},
        "POST /api/v1/payments/webhook/{provider}": {
            "event_id": "1", "type": "payment.succeeded", "order_id": str(world.payment),
            "amount": "5.00",
        },
        "POST /api/v1/auth/register": {
            "email": "asha@example.org", "password": PASSWORD, "full_name": "Asha", "role": "buyer",
        },
        "POST /api/v1/auth/login": {
            "email": world.people["host"].email, "password": PASSWORD,
        },
        "POST /api/v1/auth/code": {"code": "x" * 43},
        "POST /api/v1/auth/refresh": {"refresh_token": world.refresh_tokens[0]},
        "POST /api/v1/auth/logout": {"refresh_token": world.refresh_tokens[1]},
        "PATCH /api/v1/auth/me": {"full_name": "Asha Rao"},
        "POST /api/v1/auth/change-password": {
            "current_password": PASSWORD, "new_password": "another horse battery",
        },
        "PATCH /api/v1/admin/users/{user_id}": {"is_active": True},
        "PATCH /api/v1/admin/devices/{device_id}": {"frozen": False, "reason": "As it was"},
    }  # fmt: skip


# The callers of routes whose things belong to a host.
CALLERS = {
    "POST /api/v1/marketplace/listings": "host",
    "PATCH /api/v1/marketplace/listings/{listing_id}": "host",
    "DELETE /api/v1/marketplace/listings/{listing_id}": "host",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A request, without what differs between the two worlds."""

    name: str
    operation: Operation
    role: str | None
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    # Replaces the good body: bytes, or a change of its fields.
    body: bytes | Mapping[str, Any] | None = None
    is_signed: bool = False

    @property
    def method(self) -> str:
        return self.operation.method

    def content(self, world: World) -> bytes | None:
        if isinstance(self.body, bytes):
            return self.body
        good = good_bodies(world).get(self.operation.name)
        if good is None:
            return None
        fields = good | dict(self.body or {})
        return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


def cases_of(one: Operation) -> Iterator[Case]:
    """Yield the good request of a route, and then the bad ones."""
    role = caller_of(one)
    query = NEARBY if "nearby" in one.path else {}
    headers = JSON if one.body_fields() or one.path.endswith("{provider}") else {}
    good = Case("good", one, role, one.path, query, headers, is_signed="webhook" in one.path)

    def case(name: str, **changes: Any) -> Case:
        return _replace(good, name=name, **changes)

    yield good
    for name in one.path_names():
        for wrong in ("nine", "%00", "x" * 5000, str(uuid4())):
            path = one.path.replace(f"{{{name}}}", wrong)
            yield case(f"path {name} {wrong[:5]}", path=path)
    for name in one.queries():
        # Random emails contain digits, which `q` would find.
        repeated = ["nobody", "no one"] if name == "q" else ["2", "3"]
        for wrong in ("a\0b", "", "nine", repeated, "1e400"):
            yield case(f"query {name} {wrong!r}", query=query | {name: wrong})
        yield case(f"query without {name}", query={k: v for k, v in query.items() if k != name})
    yield case("unknown query", query=query | {"unknown": "1"})
    for name in header_names(one):
        for wrong in ("a b", "", "x" * 256):
            yield case(f"header {name} {wrong[:5]!r}", headers=headers | {name: wrong})
    yield from bad_bodies(good, one)
    if role is not None:
        yield case("no token", role=None)
        yield case("bad token", role=None, headers=headers | {"Authorization": "Bearer x.y.z"})
        for other in sorted({"buyer", "host", "investor", "admin"} - set(one.roles or ())):
            yield case(f"as {other}", role=other)


def bad_bodies(good: Case, one: Operation) -> Iterator[Case]:
    if not one.body_fields():
        return
    for content in (
        b"", b"{", b"{}", b"null", b"[]", b"1", b"1.5", b"true", b'"text"', b"\xff", b'{"a": NaN}',
        b"[" * 100_000, b"1" * 5000, b"{" + b" " * 2**20 + b"}", b"{" + b" " * 2**14 + b"}",
    ):  # fmt: skip
        yield _replace(good, name=f"body {content[:9]!r} {len(content)}", body=content)
    for kind in (
        "text/plain",
        "application/jsonx",
        "json",
        "",
        "Application/A+JSON; charset=utf-8",
    ):
        yield _replace(good, name=f"content type {kind}", headers={"Content-Type": kind})
    yield _replace(good, name="no content type", headers={})
    yield _replace(good, name="unknown field", body={"unknown": 1})
    for name in sorted(set().union(*one.body_fields())):
        for wrong in (..., None, "\0", "x" * 5000, [], {}, -1, 1.00000000000000000001, "true"):
            yield _replace(good, name=f"field {name} {str(wrong)[:9]!r}", body={name: wrong})


def _replace(case: Case, **changes: Any) -> Case:
    fields = {name: getattr(case, name) for name in Case.__slots__}
    return Case(**(fields | changes))


def caller_of(one: Operation) -> str | None:
    if one.roles is None:
        return None
    role = CALLERS.get(one.name) or one.role
    return "host" if "/devices" in one.path and "host" in one.roles else role


def header_names(one: Operation) -> list[str]:
    return [p["name"] for p in one.documented.get("parameters", ()) if p["in"] == "header"]
