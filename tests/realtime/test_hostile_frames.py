"""Whatever a client sends, it gets the answer or close code of the protocol, and nothing else."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from db.pool import Pool
from realtime.protocol import REQUEST_BYTES_MAX
from realtime.session import SUBSCRIPTIONS_MAX
from tests.realtime.announcing import announce, wallet_event
from tests.realtime.client import Client, open_client
from tests.support.people import add_device, add_user

ERRORS = {"bad_request", "unknown_channel", "forbidden", "too_many_subscriptions"}
ANSWERS = {"ready", "subscribed", "error", "pong", "token_expiring", "events"}
VICTIM = UUID("00000000-0000-4000-8000-000000000001")

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
    | st.sampled_from([10**400, -(10**400), 1e308, "\ud800", "\x00", "x" * 5000])
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_channels = st.sampled_from(
    ["listings", "listings:near", "user", "user:", f"user:{VICTIM}", f"device:{VICTIM}",
     f"listing:{VICTIM}", f"LISTING:{VICTIM}", "device:", "listing:" + "0" * 36, "listings:*", "*",
     "solarhub:feed:channel:listings", "user\x00"]
)  # fmt: skip
_positions = st.sampled_from(["", "0-0-0", "a-1-1", "f" * 32 + "-9" * 2, "-", "9" * 5000, "\x00"])
_near = dict.fromkeys(("latitude", "longitude", "radius_km"), _values)
_operations = st.sampled_from(["subscribe", "unsubscribe", "ping", "auth", "events", ""])

# Frames of the protocol in which anything may stand where something is expected.
_frames = st.fixed_dictionaries(
    {},
    optional={
        "op": _operations | _values,
        "channel": _channels | _values,
        "position": _positions | _values,
        "token": _values,
        **_near,
    },
).map(json.dumps)
_deep = st.tuples(st.sampled_from(["[", '{"op":', '[{"a":']), st.integers(1, 3000)).map(
    lambda deep: (deep[0] * deep[1])[:REQUEST_BYTES_MAX]
)
_long = st.integers(REQUEST_BYTES_MAX - 40, REQUEST_BYTES_MAX + 1024).map(
    lambda size: '{"op": "ping", "x": "' + "x" * size + '"}'
)
_messages = _frames | _values.map(json.dumps) | st.text() | st.binary() | _deep | _long
_invalid_utf8 = st.just(b"\xff\xfe")


@pytest.fixture
async def victim_device(pool: Pool) -> UUID:
    """A device of somebody else, who exists."""
    return await add_device(pool, await add_user(pool, "host"))


async def answers(client: Client) -> tuple[list[dict[str, Any]], int | None]:
    """All it says until it confirms a last subscription, or its close code."""
    last, heard = f"listing:{uuid4()}", []
    try:
        await client.say(op="subscribe", channel=last)
        while not heard or heard[-1].get("channel") != last:
            heard.append(await client.hear())
    except ConnectionClosed as closed:
        return heard, closed.rcvd.code if closed.rcvd else None
    return heard, None


@settings(max_examples=150)
@given(st.lists(_messages | _invalid_utf8, min_size=1, max_size=5))
async def test_hostile_frames_get_an_answer_of_the_protocol(
    feed: str, pool: Pool, caplog: pytest.LogCaptureFixture, said: list[str | bytes]
) -> None:
    with capture_logs() as logs:
        async with open_client(feed) as client:
            await announce(pool, wallet_event(VICTIM, "1.00"))
            try:
                for message in said:
                    await client.connection.send(message, text=message == b"\xff\xfe" or None)
            except ConnectionClosed:
                pass
            heard, code = await answers(client)
    assert {frame["op"] for frame in heard} <= ANSWERS
    assert {frame["code"] for frame in heard if frame["op"] == "error"} <= ERRORS
    assert not [frame for frame in heard if frame["op"] == "events"], "it was told something"
    assert code in (None, 4400, 4401)
    assert "error" not in {entry["log_level"] for entry in logs}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_1000_subscriptions_are_100_and_900_errors(feed: str) -> None:
    async with open_client(feed) as client:
        for _ in range(1000):
            await client.say(op="subscribe", channel=f"listing:{uuid4()}")
        heard = [await client.hear() for _ in range(1000)]
        codes = [frame.get("code") for frame in heard]
        assert codes == [None] * SUBSCRIPTIONS_MAX + ["too_many_subscriptions"] * 900


async def test_what_is_anothers_is_refused_under_every_name(
    feed: str, pool: Pool, victim_device: UUID
) -> None:
    theirs = (f"user:{VICTIM}", f"device:{victim_device}", f"device:{uuid4()}")
    async with open_client(feed) as client:
        for kind, _, name in (channel.partition(":") for channel in theirs):
            for spelt in (name, name.upper()):
                await client.say(op="subscribe", channel=f"{kind}:{spelt}")
                assert (await client.hear_op("error"))["code"] == "forbidden"
        await announce(pool, wallet_event(VICTIM, "1.00"))
        assert await client.quiet()
