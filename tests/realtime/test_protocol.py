"""The protocol to the letter: sign-in, errors, close codes, health."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from core.events import user_channel
from db.pool import Pool
from realtime.session import SUBSCRIPTIONS_MAX
from tests.realtime.announcing import announce, wallet_event
from tests.realtime.client import Client, open_client, token
from tests.realtime.conftest import Parts
from tests.support.people import add_user
from tests.support.waiting import eventually


async def test_signing_in_says_who_and_until_when(feed: str, pool: Pool) -> None:
    user_id = (await add_user(pool)).id
    async with open_client(feed, sign_in=False) as client:
        ready = await client.sign_in(user_id)
    assert ready["user_id"] == str(user_id)
    assert ready["expires_at"].endswith("Z")


@pytest.mark.parametrize(
    "first",
    [
        {"op": "ping"},
        {"op": "subscribe", "channel": "listings"},
        {"op": "auth"},
        {"op": "auth", "token": "no token"},
        {"op": "auth", "token": token(ttl_s=-1)},
        {},
    ],
    ids=["ping", "subscribe", "no token", "bad token", "old token", "nothing"],
)
async def test_who_does_not_sign_in_first_is_closed_with_4401(
    feed: str, first: dict[str, Any]
) -> None:
    async with open_client(feed, sign_in=False) as client:
        await client.say(**first)
        assert await client.close_code() == 4401


async def test_who_says_nothing_is_closed_with_4401_within_5_s(feed: str) -> None:
    async with open_client(feed, sign_in=False) as client:
        began_at = asyncio.get_running_loop().time()
        assert await client.close_code() == 4401
        assert 4.5 < asyncio.get_running_loop().time() - began_at < 7


async def test_a_token_that_expires_is_announced_and_then_closes_with_4401(feed: str) -> None:
    async with open_client(feed, sign_in=False) as client:
        await client.sign_in(ttl_s=2)
        await client.hear_op("token_expiring")
        assert await client.close_code() == 4401


async def test_a_fresh_token_keeps_a_client_connected(feed: str) -> None:
    async with open_client(feed, sign_in=False) as client:
        first = await client.sign_in(ttl_s=2)
        await client.hear_op("token_expiring")
        second = await client.sign_in(ttl_s=4)
        assert second["expires_at"] > first["expires_at"]
        await client.hear_op("token_expiring")  # two seconds later: the first would be over
        assert await client.quiet()


async def test_a_connection_does_not_change_hands(feed: str) -> None:
    async with open_client(feed) as client:
        await client.say(op="auth", token=token(uuid4()))
        assert await client.close_code() == 4401


@pytest.mark.parametrize(
    "frame",
    ["no json", "[]", "17", '"ping"', "[" * 10_000, '{"op": "ping", "x": "' + "x" * 16_384 + '"}',
     "x" * 3_000_000, b'{"op": "ping"}'],
    ids=["text", "array", "number", "string", "nested", "over 16 KiB", "huge", "binary"],
)  # fmt: skip
async def test_a_bad_frame_is_closed_with_4400(feed: str, frame: str | bytes) -> None:
    async with open_client(feed) as client:
        await client.connection.send(frame)
        assert await client.close_code() == 4400


async def test_a_frame_of_16_kib_is_fine(feed: str) -> None:
    async with open_client(feed) as client:
        frame = json.dumps({"op": "ping", "x": ""})
        await client.connection.send(frame[:-2] + "x" * (16 * 1024 - len(frame)) + frame[-2:])
        await client.hear_op("pong")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": "dance"}, "bad_request"),
        ({"op": None}, "bad_request"),
        ({"op": "subscribe"}, "bad_request"),
        ({"op": "subscribe", "channel": 7}, "bad_request"),
        ({"op": "subscribe", "channel": "listings", "position": 7}, "bad_request"),
        ({"op": "subscribe", "channel": "weather"}, "unknown_channel"),
        ({"op": "subscribe", "channel": "listing:7"}, "unknown_channel"),
        ({"op": "subscribe", "channel": "user:"}, "unknown_channel"),
        ({"op": "subscribe", "channel": "listings:\ud800"}, "unknown_channel"),
        ({"op": "unsubscribe", "channel": "weather"}, "unknown_channel"),
        ({"op": "subscribe", "channel": user_channel(uuid4())}, "forbidden"),
        ({"op": "subscribe", "channel": f"device:{uuid4()}"}, "forbidden"),
    ],
)
async def test_what_can_not_be_done_is_an_error_and_the_connection_stays(
    feed: str, frame: dict[str, Any], code: str
) -> None:
    async with open_client(feed) as client:
        await client.say(**frame)
        error = await client.hear_op("error")
        assert error["code"] == code
        assert error["message"]
        if isinstance(frame.get("channel"), str):
            assert error["channel"] == frame["channel"]
        assert await client.quiet()


async def test_a_client_has_at_most_100_subscriptions(feed: str) -> None:
    async with open_client(feed) as client:
        for _ in range(SUBSCRIPTIONS_MAX):
            last = f"listing:{uuid4()}"
            await client.subscribe(last)
        await client.say(op="subscribe", channel="listings")
        assert (await client.hear_op("error"))["code"] == "too_many_subscriptions"
        await client.subscribe(last)  # asking again is not one more
        await client.say(op="unsubscribe", channel=last)
        await client.subscribe("listings")


async def test_a_user_has_at_most_20_connections(feed: str, pool: Pool) -> None:
    user_id = (await add_user(pool)).id
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(feed, user_id)) for _ in range(20)]
        async with open_client(feed, sign_in=False) as one_more:
            await one_more.say(op="auth", token=token(user_id))
            assert await one_more.close_code() == 4429
        async with open_client(feed):
            pass  # another user is let in
        await clients[0].connection.close()

        async def is_let_in() -> bool:
            async with open_client(feed, sign_in=False) as client:
                await client.say(op="auth", token=token(user_id))
                return bool((await client.hear())["op"] == "ready")

        await eventually(is_let_in)


async def test_what_is_private_reaches_its_owner_only(feed: str, pool: Pool) -> None:
    mine, other = (await add_user(pool)).id, (await add_user(pool)).id
    async with open_client(feed, mine) as me, open_client(feed, other) as neighbour:
        for client in (me, neighbour):
            subscribed = await client.subscribe("user")
            assert subscribed["channel"] == "user"
            await client.subscribe("listings")
        await announce(pool, wallet_event(mine, "12.50"), wallet_event(other, "7.00"))
        event = await me.event()
        assert event["channel"] == "user"
        assert event["type"] == "wallet.updated"
        assert event["data"]["balance"] == "12.50"
        assert (await neighbour.event())["data"]["balance"] == "7.00"
        assert await me.quiet()
        assert await neighbour.quiet()


async def test_a_hub_that_shuts_down_says_goodbye(parts: Parts, pool: Pool) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(parts.relay())
        async with parts.hub() as url:
            client = await stack.enter_async_context(open_client(url))
            silent = Client(await stack.enter_async_context(connect(url, proxy=None)))
            began_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began_at < 5
        assert await client.close_code() == 1001
        assert await silent.close_code() == 1001


async def test_a_hub_that_hears_no_heartbeat_is_not_ready_and_closes_with_4500(
    parts: Parts,
) -> None:
    async with parts.hub() as url:
        http = url.replace("ws://", "http://").removesuffix("/ws")

        async def status(path: str) -> int:
            async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
                return (await browser.get(http + path)).status_code

        assert await status("/healthz") == 200
        async with parts.relay(), open_client(url) as client:

            async def ready() -> bool:
                return await status("/readyz") == 200

            await eventually(ready)
            await client.subscribe("listings")
        async with open_client(url) as client:
            assert await client.close_code() == 4500
        assert await status("/readyz") == 503
        assert await status("/healthz") == 200


async def test_the_port_answers_what_is_not_the_feed(feed: str) -> None:
    http = feed.replace("ws://", "http://").removesuffix("/ws")
    async with httpx.AsyncClient(trust_env=False, base_url=http, verify=False) as browser:
        metrics = await browser.get("/metrics")
        assert metrics.status_code == 200
        assert "solarhub_feed_clients 0.0" in metrics.text
        assert (await browser.get("/elsewhere")).status_code == 404
    with pytest.raises(InvalidStatus):
        async with connect(feed.removesuffix("ws") + "elsewhere", proxy=None):
            pass


@pytest.mark.parametrize("said", [b"", b"GET /ws HT", b"\x16\x03\x01\x00\xff\x01 no HTTP\r\n\r\n"])
async def test_who_hangs_up_or_speaks_no_http_is_no_error(
    feed: str, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(feed)
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(said)
        writer.close()
        await eventually(lambda: "handshake_failed" in {entry["event"] for entry in logs})
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
