"""The JavaScript client of docs/feed.mjs, as a mobile team would paste it, against a real hub."""

import asyncio
import json
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from core.events import EventType
from core.settings import RedisSettings
from db.pool import Pool
from tests.conftest import require
from tests.realtime.announcing import announce, listing_event
from tests.realtime.client import token
from tests.realtime.conftest import Parts
from tests.support.ports import free
from tests.support.waiting import eventually

DRIVER = Path(__file__).with_name("feed_on_node.mjs")
HEARS_WITHIN_S = 30


@pytest.fixture(scope="session")
def node() -> list[str]:
    """Node with a WebSocket: built in since 22, behind a flag in 20."""
    program = require("node", shutil.which("node"))
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.removeprefix("v").partition(".")[0])
    if major < 20:
        pytest.skip(f"Node {version.stdout.strip()} has no WebSocket")
    return [program] if major >= 22 else [program, "--experimental-websocket"]


class App:
    """The events that the client passed to the app, in order."""

    def __init__(self, process: asyncio.subprocess.Process, *, ttl_s: float) -> None:
        self.process = process
        self._ttl_s = ttl_s
        self.told: list[dict[str, Any]] = []

    async def listen(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            if "token" in said:
                self.process.stdin.write(token(ttl_s=self._ttl_s).encode() + b"\n")
            else:
                self.told.append(said)

    @property
    def versions(self) -> list[int]:
        return [said["event"]["data"]["version"] for said in self.told if "event" in said]

    @property
    def reloads(self) -> int:
        return sum("reload" in said for said in self.told)


@asynccontextmanager
async def app(
    node: list[str], url: str, *channels: str, ttl_s: float = 900, **env: str
) -> AsyncIterator[App]:
    process = await asyncio.create_subprocess_exec(
        *node, "--no-warnings", str(DRIVER), url, *channels,
        stdin=PIPE, stdout=PIPE, env={**os.environ, **env},
    )  # fmt: skip
    running = App(process, ttl_s=ttl_s)
    listening = asyncio.create_task(running.listen())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


async def announce_versions(pool: Pool, versions: range) -> None:
    """Changes that are never merged."""
    listing_id = uuid4()
    await announce(pool, *(listing_event(listing_id, n, EventType.LISTING_SOLD) for n in versions))


async def test_nothing_is_missed_or_repeated_while_the_hub_restarts(
    node: list[str], parts: Parts, pool: Pool
) -> None:
    port = free()
    async with parts.relay(), app(node, f"ws://127.0.0.1:{port}/ws", "listings") as client:
        async with parts.hub(port):
            await eventually(lambda: client.reloads == 1, within_s=HEARS_WITHIN_S)
            await announce_versions(pool, range(10))
            await eventually(lambda: client.versions == list(range(10)))
        await announce_versions(pool, range(10, 30))
        async with parts.hub(port):
            await eventually(lambda: client.versions == list(range(30)), within_s=HEARS_WITHIN_S)
        assert client.reloads == 1


async def test_a_reload_is_asked_for_when_redis_lost_its_memory(
    node: list[str], feed: str, pool: Pool, redis_settings: RedisSettings
) -> None:
    async with app(node, feed, "listings") as client:
        await eventually(lambda: client.reloads == 1, within_s=HEARS_WITHIN_S)
        async with Redis.from_url(redis_settings.redis_url) as redis:
            await redis.flushall()
        await eventually(lambda: client.reloads == 2, within_s=HEARS_WITHIN_S)
        await announce_versions(pool, range(3))
        await eventually(lambda: client.versions == [0, 1, 2])


async def test_a_client_stays_signed_in_past_the_end_of_its_token(
    node: list[str], feed: str, pool: Pool
) -> None:
    async with app(node, feed, "listings", ttl_s=2) as client:
        await eventually(lambda: client.reloads == 1, within_s=HEARS_WITHIN_S)
        began_at = asyncio.get_running_loop().time()
        version = 0
        while asyncio.get_running_loop().time() < began_at + 3:
            await announce_versions(pool, range(version, version + 1))
            version += 1
            await eventually(lambda: client.versions == list(range(version)))  # noqa: B023
        assert client.reloads == 1


async def test_what_the_app_fails_to_handle_comes_again(
    node: list[str], feed: str, pool: Pool
) -> None:
    async with app(node, feed, "listings", FAIL_ONCE="5") as client:
        await eventually(lambda: client.reloads == 1, within_s=HEARS_WITHIN_S)
        await announce_versions(pool, range(10))
        await eventually(lambda: client.versions == list(range(10)), within_s=HEARS_WITHIN_S)


async def test_a_connection_that_says_nothing_any_more_is_given_up(
    node: list[str], feed: str, pool: Pool
) -> None:
    async with (
        silent_way(feed) as (url, falls_silent),
        app(node, url, "listings", PULSE_MS="200") as client,
    ):
        await eventually(lambda: client.reloads == 1, within_s=HEARS_WITHIN_S)
        falls_silent.set()
        await announce_versions(pool, range(5))
        await eventually(lambda: client.versions == list(range(5)), within_s=HEARS_WITHIN_S)


@asynccontextmanager
async def silent_way(feed: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to the hub whose first visitor, once asked to, hears nothing more: not even an end."""
    port, falls_silent, visitors = int(feed.split(":")[2].removesuffix("/ws")), asyncio.Event(), 0

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_first: bool
    ) -> None:
        while data := await reader.read(65536):
            if not (is_first and falls_silent.is_set()):
                writer.write(data)
        writer.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visitors
        visitors += 1
        is_first = visitors == 1
        hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            pass_on(reader, hub_writer, is_first=is_first),
            pass_on(hub_reader, writer, is_first=is_first),
            return_exceptions=True,
        )

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws", falls_silent
    finally:
        server.close()


async def test_a_client_does_not_ask_again_for_what_is_refused(node: list[str], feed: str) -> None:
    async with app(node, feed, f"user:{uuid4()}") as client:
        await eventually(lambda: client.process.returncode == 0, within_s=HEARS_WITHIN_S)
        assert client.told == [{"refused": "forbidden: this channel is another user's"}]
