"""Limits of connections: large heads, slow clients."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from api.http import middleware
from api.http.connection_limits import ConnectionLimits
from core.settings import DatabaseSettings
from db.pool import Pool
from tests.api.conftest import serving, token_of
from tests.support.people import add_device, add_user
from tests.support.raw_http import Line, head, line_to
from tests.support.waiting import eventually

QUICK = ConnectionLimits(head_max_s=1, ignored_max_s=1, read_within_s=2)
LOGIN = "/api/v1/auth/login"
KIB = 1024


@pytest.fixture
async def port(database: DatabaseSettings) -> AsyncIterator[int]:
    """The port of an API with short limits of time."""
    async with serving(database, limits=QUICK) as api:
        yield api.settings.api_port


async def is_served(port: int) -> bool:
    async with line_to(port) as line:
        await line.send(head("GET", "/healthz"))
        return (await line.answer()).status == 200


@pytest.mark.parametrize(
    "too_much",
    [
        b"".join(b"h%d: x\r\n" % number for number in range(101)) + b"\r\n",
        b"".join(b"a: b\r\n" for _ in range(50_000)),
        b"name: " + b"x" * 65 * KIB + b"\r\n\r\n",
        b"name: " + b"x" * 65 * KIB,
        b"x" * 65 * KIB,
    ],
)
async def test_a_head_that_is_too_large_is_refused(port: int, too_much: bytes) -> None:
    async with line_to(port) as line:
        await line.send(head("GET", "/healthz")[:-2] + too_much)
        answer = await line.answer()
        assert (answer.status, answer.code) == (431, "headers_too_large")
        assert answer.headers["x-request-id"] == answer.json()["requestId"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        await line.hung_up()
    assert await is_served(port)


async def test_only_a_path_over_the_limit_is_refused(port: int) -> None:
    for length, status in ((48 * KIB, 404), (65 * KIB, 431)):
        async with line_to(port) as line:
            await line.send(head("GET", "/" + "x" * length))
            assert (await line.answer()).status == status


async def test_a_body_does_not_count_as_head(port: int) -> None:
    async with line_to(port) as line:
        body = b" " * 16 * KIB
        request = head(
            "POST", LOGIN, content_type="application/json", content_length=str(len(body))
        )
        for _ in range(3):
            await line.send(request + body)
            assert (await line.answer()).status == 400


async def test_trailers_of_a_body_are_limited_too(port: int) -> None:
    async with line_to(port) as line:
        await line.send(head("POST", LOGIN, transfer_encoding="chunked") + b"1\r\nx\r\n0\r\n")
        await line.send(b"".join(b"a%d: b\r\n" % number for number in range(101)))
        await line.hung_up()
    assert await is_served(port)


async def test_a_malformed_request_is_answered_in_the_envelope(port: int) -> None:
    async with line_to(port) as line:
        await line.send(b"\x16\x03\x01 hello\r\n\r\n")
        answer = await line.answer()
        assert (answer.status, answer.code) == (400, "malformed_request")
        await line.hung_up()


async def test_pipelined_requests_are_all_answered(port: int) -> None:
    async with line_to(port) as line:
        await line.send(head("GET", "/healthz") * 20)
        assert [(await line.answer()).status for _ in range(20)] == [200] * 20


async def drip(line: Line, data: bytes) -> None:
    """Send slowly until the server closes the connection."""
    try:
        while True:
            await line.send(data)
            await asyncio.sleep(0.1)
    except ConnectionError:
        return


SLOW = {
    "sends nothing": (b"", b""),
    "sends nothing but empty lines": (b"", b"\r\n"),
    "does not end its request line": (b"GET /", b"x"),
    "does not end its headers": (b"GET /healthz HTTP/1.1\r\nHost: test\r\n", b"a: b\r\n"),
    "does not end a body that was refused": (
        head("POST", "/api/v1/marketplace/purchase", content_length="1000000"), b" ",
    ),
    "does not end a body that the route does not read": (
        head("GET", "/healthz", content_length="1000000"), b" ",
    ),
    "does not end the next request": (head("GET", "/healthz"), b"G"),
}  # fmt: skip


@pytest.mark.parametrize("how", list(SLOW))
async def test_the_connections_of_slow_clients_are_closed(port: int, how: str) -> None:
    first, then = SLOW[how]
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(line_to(port)) for _ in range(60)]
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            for line in lines:
                await line.send(first)
            dripping = [tasks.create_task(drip(line, then)) for line in lines if then]
            await asyncio.gather(*(line.hung_up() for line in lines))
            for task in dripping:
                task.cancel()
    assert await is_served(port)


async def test_slow_headers_are_answered_with_408(port: int) -> None:
    async with line_to(port) as line:
        await line.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n")
        answer = await line.answer()
        assert (answer.status, answer.code) == (408, "request_too_slow")


async def test_a_slow_body_is_answered_with_408(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "REQUEST_TIMEOUT_S", 1)
    for size in (100, 2 * 1024 * KIB):  # one that is read, and one that is too large
        async with line_to(port) as line:
            await line.send(head("POST", LOGIN, content_length=str(size)) + b"{")
            answer = await line.answer()
            assert (answer.status, answer.code) == (408, "request_too_slow")
            await line.hung_up()


async def test_the_connection_of_a_client_that_does_not_read_is_closed(
    database: DatabaseSettings, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    began = datetime.now(UTC) - timedelta(days=1)
    await pool.execute(
        "INSERT INTO telemetry (device_id, time, power_w, energy_wh, voltage_v, current_a)"
        " SELECT $1, $2::timestamptz + n * interval '1 second', 1.5, 1000.25, 230.123, 10.123"
        " FROM generate_series(1, 10000) n",
        device_id,
        began,
    )
    path = f"/api/v1/devices/{device_id}/telemetry?limit=10000&from={began:%Y-%m-%dT%H:%M:%SZ}"
    asked = head("GET", path, authorization=f"Bearer {token_of(host)}")
    async with serving(database, limits=QUICK) as api:
        port = api.settings.api_port
        with socket.socket() as client:
            # A small buffer of the system for what the client has not read.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            # Ten responses are more than the system buffers for the server.
            await asyncio.get_running_loop().sock_sendall(client, asked * 10)
            await eventually(lambda: connections(port) == 1)
            await eventually(lambda: connections(port) == 0, within_s=30)
        assert await is_served(port)


def connections(port: int) -> int:
    """Return the number of connections that a server in this process has open."""
    found = psutil.Process().net_connections("tcp")
    return sum(one.status == "ESTABLISHED" and one.laddr.port == port for one in found)
