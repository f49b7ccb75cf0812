"""What a route reads of a request, and how it tells of what is wrong."""

import httpx
import pytest

from db import users
from db.pool import Connection
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.support.people import add_user

ME, NEARBY = "/api/v1/auth/me", "/api/v1/location/nearby-listings"


async def change(api: Api, conn: Connection, kind: str | None, body: bytes) -> httpx.Response:
    headers = {} if kind is None else {"Content-Type": kind}
    return await api.call("PATCH", ME, await add_user(conn), headers=headers, content=body)


async def test_a_body_is_json_if_it_says_so(api: Api, conn: Connection) -> None:
    body = b'{"full_name": "Asha"}'
    for kind in (None, "text/plain", "application/jsonx", "text/json", "json"):
        assert fields_of(await change(api, conn, kind, body)) == ["body"], kind
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/a.b+json"):
        assert data_of(await change(api, conn, kind, body))["full_name"] == "Asha", kind


async def test_a_body_that_is_not_there_is_missed(api: Api, conn: Connection) -> None:
    for kind in ("application/json", None):
        response = await change(api, conn, kind, b"")
        assert response.json()["message"] == "body: Field required"


async def test_all_that_is_wrong_is_told_at_once(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    response = await api.call("GET", NEARBY, buyer, params={"limit": 0, "lat": 91})
    assert sorted(fields_of(response)) == ["lat", "limit", "radius_km"]
    response = await api.call(
        "POST", "/api/v1/marketplace/purchase", buyer, json={}, headers={"Idempotency-Key": "a b"}
    )
    assert fields_of(response) == ["Idempotency-Key", "listing_id", "energy_kwh"]


async def test_of_what_a_query_says_twice_the_last_counts(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    place = {"lat": "12.97", "lon": "77.59", "radius_km": "5"}
    for limits, status in ((["0", "20"], 200), (["20", "0"], 400)):
        response = await api.call("GET", NEARBY, buyer, params={**place, "limit": limits})
        assert response.status_code == status


async def test_a_fault_of_ours_is_told_without_its_reasons(
    api: Api, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise ZeroDivisionError("secret reasons")

    buyer = await add_user(conn)
    monkeypatch.setattr(users, "by_id", fails)
    response = await api.call("GET", ME, buyer)
    assert (response.status_code, code_of(response)) == (500, "unexpected")
    assert "reasons" not in response.text
    assert response.headers["X-Request-ID"] == response.json()["requestId"]


@pytest.mark.parametrize("fields", [60, 100, 101, 60_000])
async def test_what_is_wrong_is_told_in_a_small_answer(
    api: Api, conn: Connection, fields: int
) -> None:
    """However much of it there is, and whatever it is called."""
    body = {f"field_{number}": 1 for number in range(fields)}
    response = await api.call("PATCH", ME, await add_user(conn), json=body)
    wrong = fields_of(response)
    assert wrong == (["body"] if fields > 100 else [f"field_{n}" for n in range(50)])
    assert len(response.content) < 10_000
    if fields <= 100:
        assert response.json()["message"].endswith(f"; and {fields - 50} more")


async def test_what_a_client_calls_a_field_is_not_sent_back_at_any_length(
    api: Api, conn: Connection
) -> None:
    buyer = await add_user(conn)
    response = await api.call("PATCH", ME, buyer, json={"x" * 900_000: 1})
    assert fields_of(response) == ["x" * 100 + "…"]
    response = await api.call(
        "PATCH", ME, buyer, content=rb'{"\ud800\n": 1}',
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert fields_of(response) == ["body"]
