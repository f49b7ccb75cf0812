"""A client of the hub waits where it is asked to."""

import httpx
import pytest

from simulators.hub_client import HubClient, HubRefusal

WAIT = {"Retry-After": "0"}
DONE = httpx.Response(200, json={"data": "done"})


def failure(status: int, code: str) -> httpx.Response:
    body = {"message": "no", "error": {"code": code}}
    return httpx.Response(status, json=body, headers=WAIT)


async def ask(*answers: httpx.Response) -> object:
    """What a client makes of these answers to one request that must not be sent twice for fun."""
    waiting = list(answers)
    transport = httpx.MockTransport(lambda _: waiting.pop(0))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub/api/v1/") as http:
        return await HubClient(http).call("POST", "auth/login", json={})


async def test_what_fails_is_tried_a_few_times() -> None:
    with pytest.raises(HubRefusal, match="database_unavailable"):
        await ask(*[failure(503, "database_unavailable")] * 5, DONE)
    assert await ask(*[failure(503, "database_unavailable")] * 4, DONE) == "done"


async def test_who_is_one_too_many_waits_for_their_turn() -> None:
    assert await ask(*[failure(429, "rate_limited")] * 50, DONE) == "done"
