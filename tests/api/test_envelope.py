"""Every response is in the envelope, with its headers."""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from core.settings import DatabaseSettings
from db.pool import Connection, Pool
from tests.api.conftest import Api, code_of, fields_of, serving, token_of
from tests.support.people import Person, add_user

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NOBODY = Person(uuid4(), "nobody@example.org", "buyer")
LISTINGS = "/api/v1/marketplace/listings"


def failure_of(response: httpx.Response, status: int, type_: str, code: str) -> None:
    body = response.json()
    assert response.status_code == body["statusCode"] == status
    assert body["success"] is False
    assert body["message"]
    assert (body["error"]["type"], body["error"]["code"]) == (type_, code)
    assert RFC3339.fullmatch(body["timestamp"])
    assert body["requestId"] == response.headers["X-Request-ID"]


async def test_a_success_is_in_the_envelope(api: Api) -> None:
    response = await api.call("GET", "/healthz")
    body = response.json()
    assert RFC3339.fullmatch(body.pop("timestamp"))
    assert body == {
        "success": True,
        "statusCode": 200,
        "message": "Success",
        "data": {"status": "alive"},
    }
    assert response.headers["X-Request-ID"]


async def test_an_unknown_path_is_not_found(api: Api) -> None:
    for path in ("/static/nowhere", "/nowhere", "/api/v1/wallet/", "/api/v1/%00", "/healthz/"):
        failure_of(await api.call("GET", path), 404, "NotFoundError", "no_such_path")


async def test_a_wrong_method_names_the_allowed_ones(api: Api) -> None:
    response = await api.call("DELETE", "/api/v1/auth/login")
    failure_of(response, 405, "NotFoundError", "no_such_method")
    assert response.headers["Allow"] == "POST"
    response = await api.call("PUT", f"{LISTINGS}/{uuid4()}")
    failure_of(response, 405, "NotFoundError", "no_such_method")
    assert response.headers["Allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize(
    "body", [b"{", b"", b"\xff", b"[]", b"null", b'"text"', b"[" * 100_000, b"1" * 5000, b"1.5"]
)
async def test_a_body_that_is_no_object_is_invalid(api: Api, conn: Connection, body: bytes) -> None:
    asha = await add_user(conn)
    for method, path in (("POST", "/api/v1/auth/login"), ("PATCH", "/api/v1/auth/me")):
        response = await api.call(
            method, path, asha, content=body, headers={"Content-Type": "application/json"}
        )
        failure_of(response, 400, "ValidationError", "invalid")


async def test_a_body_over_1_mib_is_refused_whether_its_size_is_declared_or_not(api: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    for path in ("/api/v1/auth/login", "/api/v1/payments/webhook/sandbox"):
        for content in (b" " * (2**20 + 1), chunks()):
            response = await api.call(
                "POST", path, headers={"Content-Type": "application/json"}, content=content
            )
            failure_of(response, 413, "ValidationError", "body_too_large")


async def test_missing_bad_and_expired_tokens_have_codes_of_their_own(api: Api) -> None:
    failure_of(await api.call("GET", LISTINGS), 401, "AuthenticationError", "bad_token")
    for authorization in ("Bearer x.y.z", "Basic abc", "Bearer", f"Bearer {token_of(NOBODY)}x"):
        response = await api.call("GET", LISTINGS, headers={"Authorization": authorization})
        failure_of(response, 401, "AuthenticationError", "bad_token")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    expired = f"Bearer {token_of(NOBODY, ttl=timedelta(seconds=-1))}"
    response = await api.call("GET", LISTINGS, headers={"Authorization": expired})
    failure_of(response, 401, "AuthenticationError", "expired_token")


async def test_malformed_ids_limits_and_cursors_are_named(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    assert fields_of(await api.call("GET", f"{LISTINGS}/nine", buyer)) == ["listing_id"]
    for limit in (0, 101, "many"):
        response = await api.call("GET", LISTINGS, buyer, params={"limit": limit})
        assert fields_of(response) == ["limit"]
    for cursor in ("x", "====", "WyJ4Il0", "bnVsbA", "é", "MQ", "A" * 501):
        response = await api.call("GET", LISTINGS, buyer, params={"cursor": cursor})
        assert fields_of(response) == ["cursor"]


async def test_malformed_or_too_exact_numbers_are_named(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    wrong = [
        "NaN", "Infinity", "-Infinity", "1e400", "-1", "0", "0.0001", "1.2345", '"NaN"', '"1e400"',
        '"1_0"', '"0x1"', '""', "null", "[]", "true", "1.00000000000000000001", "1e-400",
        "1234567890123",
    ]  # fmt: skip
    for number in wrong:
        body = f'{{"listing_id": "{uuid4()}", "energy_kwh": {number}}}'
        response = await api.call(
            "POST",
            "/api/v1/marketplace/purchase",
            buyer,
            content=body,
            headers={"Content-Type": "application/json"},
        )
        assert fields_of(response) == ["energy_kwh"], number


async def test_malformed_places_are_named(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    for wrong in ("NaN", "Infinity", "1e400", "90.001", '"north"', "null"):
        response = await api.call(
            "PUT",
            "/api/v1/location/update",
            buyer,
            content=f'{{"lat": {wrong}, "lon": 1}}',
            headers={"Content-Type": "application/json"},
        )
        assert fields_of(response) == ["lat"], wrong


async def test_malformed_texts_are_named(api: Api) -> None:
    good = {
        "email": "asha@example.org",
        "password": "correct horse battery",
        "full_name": "Asha",
        "role": "buyer",
    }
    for field, value in [
        ("full_name", "A\0B"),
        ("full_name", "\ud800"),
        ("full_name", "  "),
        ("email", "a\0b@example.org"),
        ("password", "correct\0horse"),
        ("password", "too short"),
        ("password", "é" * 37),
        ("phone", "1234\0"),
        ("role", "admin"),
        ("unknown", "x"),
    ]:
        response = await api.call(
            "POST",
            "/api/v1/auth/register",
            content=json.dumps(good | {field: value}),
            headers={"Content-Type": "application/json"},
        )
        assert fields_of(response) == [field], (field, value)


async def test_every_response_has_security_headers_and_private_data_is_not_stored(api: Api) -> None:
    for path in ("/healthz", "/nowhere", LISTINGS, "/docs"):
        headers = (await api.call("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src" in headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in headers
        assert "Server" not in headers
    response = await api.call("GET", LISTINGS, NOBODY)
    assert response.headers["Cache-Control"] == "no-store"


async def test_behind_tls_browsers_are_told_to_use_tls_only(database: DatabaseSettings) -> None:
    async with serving(database, public_url="https://solar.example.org") as api:
        headers = (await api.call("GET", "/healthz")).headers
        assert "max-age" in headers["Strict-Transport-Security"]


async def test_only_configured_origins_are_allowed(database: DatabaseSettings) -> None:
    ours, theirs = "https://app.example.org", "https://evil.example.org"
    async with serving(database, cors_origins=(ours,)) as api:

        async def preflight(origin: str) -> httpx.Response:
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            return await api.call("OPTIONS", "/api/v1/auth/login", headers=headers)

        allowed = await preflight(ours)
        assert allowed.headers["Access-Control-Allow-Origin"] == ours
        assert allowed.headers["X-Request-ID"]
        refused = await preflight(theirs)
        failure_of(refused, 400, "AuthorizationError", "cors")
        assert "Access-Control-Allow-Origin" not in refused.headers
        # The page must be able to read errors too.
        response = await api.call("GET", LISTINGS, headers={"Origin": ours})
        assert response.headers["Access-Control-Allow-Origin"] == ours


async def test_the_documentation_lists_every_route_with_its_errors(api: Api) -> None:
    paths = (await api.call("GET", "/openapi.json")).json()["paths"]
    assert len(paths) > 20
    for path, operations in paths.items():
        for method, operation in operations.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            assert operation["description"], name
            assert "422" not in operation["responses"], name
            assert "503" in operation["responses"], name
            if "security" in operation:
                assert "401" in operation["responses"], name
    codes = paths["/api/v1/marketplace/purchase"]["post"]["responses"]["409"]["description"]
    for code in ("listing_not_active", "outside_window", "insufficient_energy", "price_changed"):
        assert code in codes


async def test_all_but_a_few_routes_require_a_token(api: Api) -> None:
    paths = (await api.call("GET", "/openapi.json")).json()["paths"]
    open_routes = {
        path
        for path, operations in paths.items()
        if not any("security" in o for o in operations.values())
    }
    assert open_routes == {
        "/api/v1/auth/register",
        "/api/v1/auth/code",
        "/api/v1/auth/login",
        "/api/v1/auth/refresh",
        "/api/v1/auth/logout",
        "/api/v1/payments/webhook/{provider}",
        "/api/v1/realtime",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for path in set(paths) - open_routes:
        for method in paths[path]:
            url = re.sub(r"\{\w+\}", str(uuid4()), path)
            response = await api.call(method.upper(), url, json={})
            assert (response.status_code, code_of(response)) == (401, "bad_token"), path


async def test_pages_use_no_inline_or_foreign_scripts_and_styles(api: Api) -> None:
    for path in ("/", "/docs", "/docs/", "/redoc", "/nowhere", LISTINGS):
        policy = (await api.call("GET", path)).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert "https:" not in policy
    for path in ("/", "/docs"):
        page = (await api.call("GET", path)).text
        assert re.findall(r"<script(?![^>]*src=)|<style|style=|(?:src|href)=.?https?:", page) == []


async def test_an_error_has_at_most_50_details_and_counts_the_rest(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    body = {f"unknown_{n}": n for n in range(99)}
    response = await api.call("POST", "/api/v1/devices", host, json=body)
    error = response.json()
    assert (response.status_code, len(error["error"]["details"])) == (400, 50)
    # Three required fields are missing beside the unknown ones.
    assert error["message"].endswith("; and 52 more")
