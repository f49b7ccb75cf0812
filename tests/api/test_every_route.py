"""Rules for every route, taken from the route table: they hold for new routes too."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry

from api.http.app import create_app
from api.http.authorization import RequireRole
from core.settings import ApiSettings
from db.pool import Pool
from tests.api.conftest import Api
from tests.support.people import Person, add_device, add_listing, add_purchase, add_user

ROLES = ("buyer", "host", "investor", "admin")

# Routes without an access token: for signing in and for programs. All others need one.
PUBLIC = {
    "GET /api/v1/realtime",
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "POST /api/v1/auth/code",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/logout",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/auth/register",
    "POST /api/v1/payments/webhook/{provider}",  # signed
}

# Statuses for things of another user. Elsewhere it is 404, which does not tell that they exist.
OTHERS_STATUS = {
    "GET /api/v1/marketplace/listings/{listing_id}": 200,
    "PATCH /api/v1/marketplace/listings/{listing_id}": 403,
    "DELETE /api/v1/marketplace/listings/{listing_id}": 403,
    "GET /api/v1/admin/users/{user_id}": 200,
    "PATCH /api/v1/admin/users/{user_id}": 200,
    "GET /api/v1/admin/devices/{device_id}": 200,
    "PATCH /api/v1/admin/devices/{device_id}": 200,
    "GET /api/v1/admin/devices/{device_id}/totals": 200,
    "POST /api/v1/admin/set-aside/{item_id}/retry": 200,
}
HIDDEN = 404

# The smallest bodies of a PATCH that has required fields.
SMALLEST_BODIES: dict[str, dict[str, object]] = {
    "PATCH /api/v1/admin/users/{user_id}": {"is_active": True},
    "PATCH /api/v1/admin/devices/{device_id}": {"frozen": False, "reason": "As it was"},
}

# Values that no field accepts. Some are JSON to Python only.
MALFORMED = (
    "{}", "[]", '"\\u0000"', f'"{"x" * 100_000}"', "1e400", "-1e400", "NaN", "Infinity",
    "1" + "0" * 400,
)  # fmt: skip
MALFORMED_TEXT = ("a\0b", "x" * 5000)
MALFORMED_NUMBER = ("NaN", "Infinity", "-Infinity", "1e400", "nine", "", "1" + "0" * 400)


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    method: str
    path: str
    roles: tuple[str, ...] | None  # None: no token is needed
    documented: dict[str, Any]
    models: dict[str, Any]

    @property
    def role(self) -> str:
        """A role that may call the route."""
        return (self.roles or ROLES)[0]

    def path_names(self) -> list[str]:
        return [p["name"] for p in self.documented.get("parameters", ()) if p["in"] == "path"]

    def queries(self) -> dict[str, dict[str, Any]]:
        """Return the schemas of the query's parameters by name."""
        parameters = self.documented.get("parameters", ())
        return {p["name"]: p["schema"] for p in parameters if p["in"] == "query"}

    def body_fields(self) -> list[set[str]]:
        """Return the fields of the body in sets of nine: nine of the longest values fit."""
        content = self.documented.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        model = self.models.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
        names = list(model.get("properties", ()))
        return [set(names[n : n + 9]) for n in range(0, len(names), 9)]

    def smallest_body(self) -> dict[str, object] | None:
        return SMALLEST_BODIES.get(self.name, {}) if self.method == "PATCH" else None

    def filled(self, value: object = None) -> str:
        """Return the path with a value for its parameters, a random id by default."""
        path = self.path
        for name in self.path_names():
            path = path.replace(f"{{{name}}}", str(value or uuid4()))
        return path


def operations() -> Iterator[Operation]:
    settings = ApiSettings(jwt_secret="never used, never used, never used")
    app = create_app(settings, CollectorRegistry())
    schema = app.openapi()
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods):
                yield Operation(
                    name=f"{method} {route.path}",
                    method=method,
                    path=route.path,
                    roles=roles_of(route),
                    documented=schema["paths"][route.path][method.lower()],
                    models=schema["components"]["schemas"],
                )


def roles_of(route: APIRoute) -> tuple[str, ...] | None:
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, RequireRole):
            return dependency.call.roles or ROLES
    return None


OPERATIONS = list(operations())
PRIVATE = [operation for operation in OPERATIONS if operation.roles is not None]


@pytest.fixture
async def people(pool: Pool) -> dict[str, Person]:
    return {role: await add_user(pool, role) for role in ROLES}


def named(response: httpx.Response) -> set[str]:
    """Return the fields that a ValidationError names, none for another response."""
    if response.status_code != 400:
        return set()
    return {detail["field"] for detail in response.json()["error"]["details"]}


def test_only_the_listed_routes_are_public() -> None:
    assert {one.name for one in OPERATIONS if one.roles is None} == PUBLIC
    assert {one.name for one in OPERATIONS if "security" not in one.documented} == PUBLIC


async def test_private_routes_refuse_requests_without_a_token(api: Api) -> None:
    answered = {
        one.name: response.status_code
        for one in PRIVATE
        if (response := await api.call(one.method, one.filled())).status_code != 401
    }
    assert answered == {}


async def test_other_roles_are_refused(api: Api, people: dict[str, Person]) -> None:
    answered = {
        f"{one.name} as {role}": response.status_code
        for one in PRIVATE
        for role in set(ROLES) - set(one.roles or ())
        if (response := await api.call(one.method, one.filled(), people[role])).status_code != 403
    }
    assert answered == {}


def test_refusals_of_other_roles_are_documented() -> None:
    of_some_roles = [one for one in PRIVATE if one.roles != ROLES]
    assert [one.name for one in of_some_roles if "403" not in one.documented["responses"]] == []


async def test_a_deactivated_user_is_refused_everywhere(
    api: Api, pool: Pool, people: dict[str, Person]
) -> None:
    await pool.execute("UPDATE users SET is_active = false")
    purchase = {"listing_id": str(uuid4()), "energy_kwh": "1"}
    answered = {}
    for one in PRIVATE:
        body = purchase if one.path.endswith("/purchase") else None
        response = await api.call(one.method, one.filled(), people[one.role], json=body)
        if response.status_code != 401:
            answered[one.name] = response.status_code
    assert answered == {}


async def test_things_of_other_users_are_hidden_or_protected(
    api: Api, pool: Pool, people: dict[str, Person]
) -> None:
    theirs = await things_of_somebody(pool)
    answered = {}
    for one in PRIVATE:
        for name in one.path_names():
            path = one.filled(theirs[name])
            response = await api.call(one.method, path, people[one.role], json=one.smallest_body())
            if response.status_code != OTHERS_STATUS.get(one.name, HIDDEN):
                answered[one.name] = response.status_code
    assert answered == {}


async def test_unknown_ids_are_not_found(api: Api, people: dict[str, Person]) -> None:
    answered = {}
    for one in PRIVATE:
        if one.path_names():
            body = one.smallest_body()
            response = await api.call(one.method, one.filled(), people[one.role], json=body)
            if response.status_code != 404:
                answered[one.name] = response.status_code
    assert answered == {}


async def test_a_malformed_id_is_named(api: Api, people: dict[str, Person]) -> None:
    answered = []
    for one in PRIVATE:
        for name in one.path_names():
            for wrong in ("nine", "%00", "x" * 5000):
                response = await api.call(one.method, one.filled(wrong), people[one.role])
                if name not in named(response):
                    answered.append((one.name, wrong[:9], response.text[:300]))
    assert answered == []


async def test_every_malformed_field_of_a_body_is_named(
    api: Api, people: dict[str, Person]
) -> None:
    answered = []
    for one in OPERATIONS:
        if one.path.startswith("/api/v1/payments/webhook"):
            continue  # the signature is checked before the body is parsed
        for fields in one.body_fields():
            for wrong in MALFORMED:
                response = await api.call(
                    one.method,
                    one.filled(),
                    people[one.role],
                    content="{" + ", ".join(f"{json.dumps(f)}: {wrong}" for f in fields) + "}",
                    headers={"Content-Type": "application/json"},
                )
                answered += [(one.name, field, wrong[:9]) for field in fields - named(response)]
    assert answered == []


async def test_every_malformed_parameter_of_a_query_is_named(
    api: Api, people: dict[str, Person]
) -> None:
    answered = []
    for one in OPERATIONS:
        for wrong in MALFORMED_TEXT + MALFORMED_NUMBER:
            asked = {name for name, schema in one.queries().items() if wrong in malformed(schema)}
            if asked:
                response = await api.call(
                    one.method, one.filled(), people[one.role], params=dict.fromkeys(asked, wrong)
                )
                answered += [(one.name, name, wrong[:9]) for name in asked - named(response)]
    assert answered == []


async def test_a_malformed_idempotency_key_is_named(api: Api, people: dict[str, Person]) -> None:
    for one in PRIVATE:
        for header in (p for p in one.documented.get("parameters", ()) if p["in"] == "header"):
            for wrong in ("a b", "x" * 256, "é"):
                response = await api.call(
                    one.method,
                    one.filled(),
                    people[one.role],
                    headers={header["name"]: wrong.encode()},  # type: ignore[dict-item]
                )
                assert header["name"] in named(response), (one.name, wrong, response.text)


def malformed(schema: dict[str, Any]) -> tuple[str, ...]:
    """Return the malformed values for a schema. `NaN` is malformed for numbers only."""
    branches = [*schema.get("anyOf", ()), schema]
    types = {kind for b in branches for kind in _as_list(b.get("type"))}
    return MALFORMED_TEXT + (MALFORMED_NUMBER if types & {"number", "integer"} else ())


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


async def things_of_somebody(pool: Pool) -> dict[str, object]:
    """Add one of everything that has an id, of a seller and a buyer who are not the callers."""
    seller, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    investor = await add_user(pool, "investor")
    listing_id = await add_listing(pool, seller)
    bought = await add_purchase(pool, buyer, listing_id)
    device_id = await add_device(pool, seller)
    return {
        "device_id": device_id,
        "listing_id": listing_id,
        "transaction_id": bought,
        "investment_id": await pool.fetchval(
            """
            WITH transfer AS (
                INSERT INTO ledger_transfers (kind, reference_id)
                VALUES ('investment', gen_random_uuid()) RETURNING id, reference_id
            )
            INSERT INTO investments (id, investor_id, device_id, amount, transfer_id)
            SELECT reference_id, $1, $2, 1, id FROM transfer RETURNING id
            """,
            investor.id,
            device_id,
        ),
        "user_id": seller.id,
        "method_id": await pool.fetchval(
            """
            INSERT INTO payment_methods (user_id, kind, label, provider, provider_ref)
            VALUES ($1, 'upi', 'UPI', 'sandbox', 'tok') RETURNING id
            """,
            buyer.id,
        ),
        "item_id": await pool.fetchval(
            """
            INSERT INTO failed_items (queue, item, error, set_aside_at)
            VALUES ('presence', 'device', 'stumbled', now()) RETURNING id
            """
        ),
        "address_id": await pool.fetchval(
            """
            INSERT INTO user_addresses (user_id, latitude, longitude) VALUES ($1, 12, 77)
            RETURNING id
            """,
            buyer.id,
        ),
    }
