"""The REST client: retries after refusals, and broker addresses."""

import httpx
import pytest

from simulators.hub_client import BrokerAddress, HubClient, HubRefusal

RETRY = {"Retry-After": "0"}
DONE = httpx.Response(200, json={"data": "done"})


def failure(status: int, code: str) -> httpx.Response:
    body = {"message": "no", "error": {"code": code}}
    return httpx.Response(status, json=body, headers=RETRY)


async def call(*responses: httpx.Response) -> object:
    """Send one request, not safe to repeat, to a server that gives these responses in order."""
    remaining = list(responses)
    transport = httpx.MockTransport(lambda _: remaining.pop(0))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub/api/v1/") as http:
        return await HubClient(http).call("POST", "auth/login", json={})


async def test_a_failure_with_retry_after_is_retried_a_few_times() -> None:
    with pytest.raises(HubRefusal, match="database_unavailable"):
        await call(*[failure(503, "database_unavailable")] * 5, DONE)
    assert await call(*[failure(503, "database_unavailable")] * 4, DONE) == "done"


async def test_a_rate_limited_request_is_retried_until_it_is_accepted() -> None:
    assert await call(*[failure(429, "rate_limited")] * 50, DONE) == "done"


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://hub:secret@127.0.0.1:1999", BrokerAddress("127.0.0.1", 1999)),
        ("mqtt://broker.example", BrokerAddress("broker.example", 1883)),
        ("mqtts://broker.example", BrokerAddress("broker.example", 8883, secure=True)),
    ],
)
def test_a_broker_address_is_parsed_from_a_url(url: str, broker: BrokerAddress) -> None:
    assert BrokerAddress.of(url) == broker
