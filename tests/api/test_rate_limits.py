"""Limits on attempts to sign in, which all API processes count together."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from api.http.usage_limits import SignInLimits, network_of
from core.errors import TooMany
from core.settings import ApiSettings, DatabaseSettings, RedisSettings
from db.pool import Pool
from solarhub import embedded
from tests.api.conftest import JWT_SECRET, Api, code_of, serving
from tests.support.people import PASSWORD, Person, add_user
from tests.support.ports import free
from tests.support.waiting import eventually

LOGIN, REGISTER = "/api/v1/auth/login", "/api/v1/auth/register"


async def sign_in(
    api: Api,
    email: str,
    password: str = "wrong password",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    body = {"email": email, "password": password}
    return await api.call("POST", LOGIN, json=body, headers=headers)


async def codes(api: Api, email: str, times: int, password: str = "wrong password") -> list[str]:
    return [code_of(await sign_in(api, email, password)) for _ in range(times)]


def limited(response: httpx.Response) -> bool:
    """Return whether a response refuses an attempt over the limit, with its `Retry-After`."""
    if response.status_code != 429:
        return False
    body = response.json()["error"]
    assert (body["type"], body["code"]) == ("RateLimitError", "rate_limited")
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    return True


async def test_the_eleventh_attempt_on_an_email_is_refused(
    database: DatabaseSettings, redis_settings: RedisSettings, pool: Pool
) -> None:
    person, other = await add_user(pool), await add_user(pool)
    async with serving(database, redis_settings) as api:
        assert await codes(api, person.email, 5) == ["bad_credentials"] * 5
        assert await codes(api, person.email.upper(), 5) == ["bad_credentials"] * 5
        assert limited(await sign_in(api, person.email, PASSWORD))
        assert (await sign_in(api, other.email, PASSWORD)).is_success


async def test_an_unknown_email_is_limited_too(
    database: DatabaseSettings, redis_settings: RedisSettings
) -> None:
    async with serving(database, redis_settings, rate_limit_login="2/minute") as api:
        assert await codes(api, "nobody@example.org", 2) == ["bad_credentials"] * 2
        assert limited(await sign_in(api, "nobody@example.org"))


async def test_all_processes_count_together(
    database: DatabaseSettings, redis_settings: RedisSettings, pool: Pool
) -> None:
    email = (await add_user(pool)).email
    async with (
        serving(database, redis_settings) as one,
        serving(database, redis_settings) as another,
    ):
        answers = []
        for _ in range(10):
            answers += await asyncio.gather(sign_in(one, email), sign_in(another, email))
    assert [limited(answer) for answer in answers] == [False] * 10 + [True] * 10


async def test_registrations_have_a_limit_of_their_own(
    database: DatabaseSettings, redis_settings: RedisSettings
) -> None:
    body = {"email": "asha@example.org", "password": PASSWORD, "full_name": "A", "role": "buyer"}
    async with serving(database, redis_settings, rate_limit_login="2/minute") as api:
        assert (await api.call("POST", REGISTER, json=body)).status_code == 201
        assert code_of(await api.call("POST", REGISTER, json=body)) == "email_taken"
        assert limited(await api.call("POST", REGISTER, json=body))
        assert (await sign_in(api, "asha@example.org", PASSWORD)).is_success


async def test_an_address_is_limited_over_all_emails(
    database: DatabaseSettings, redis_settings: RedisSettings, pool: Pool
) -> None:
    person = await add_user(pool)
    limits = {"rate_limit_address": "3/minute", "rate_limit_login": "1/minute"}
    async with serving(database, redis_settings, **limits) as api:
        for number in range(3):
            assert not limited(await sign_in(api, f"{number}@example.org"))
        assert limited(await sign_in(api, person.email))
    async with serving(database, redis_settings, **(limits | {"rate_limit_address": "off"})) as api:
        # An attempt that the limit of the address refused does not count for the email.
        assert (await sign_in(api, person.email, PASSWORD)).is_success


async def test_only_a_trusted_proxy_sets_the_address(
    database: DatabaseSettings, redis_settings: RedisSettings
) -> None:
    async def limited_from(api: Api, *hosts: str) -> list[bool]:
        return [
            limited(await sign_in(api, "a@example.org", headers={"X-Forwarded-For": host}))
            for host in hosts
        ]

    addresses = ("198.51.100.7", "203.0.113.9")
    limits = {"rate_limit_address": "1/minute", "rate_limit_login": "off"}
    async with serving(database, redis_settings, **limits) as api:
        assert await limited_from(api, *addresses) == [False, True]
    async with serving(database, redis_settings, **limits, trusted_proxies=("127.0.0.0/8",)) as api:
        assert await limited_from(api, *addresses, *addresses) == [False, False, True, True]
        # Addresses that the client itself put into the header do not count.
        assert await limited_from(api, f"192.0.2.1, {addresses[0]}") == [True]
        assert await limited_from(api, "nonsense", "nonsense") == [False, True]


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:0db8::0001:ffff:0:0:9", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_network_counts_as_one_address(host: str, network: str) -> None:
    assert network_of(host) == network


async def test_confirming_the_password_is_limited(
    database: DatabaseSettings, redis_settings: RedisSettings, pool: Pool
) -> None:
    person = await add_user(pool)

    async def change(current: str) -> httpx.Response:
        body = {"current_password": current, "new_password": "another good password"}
        return await api.call("POST", "/api/v1/auth/change-password", person, json=body)

    async with serving(database, redis_settings, rate_limit_login="2/minute") as api:
        for _ in range(2):
            assert code_of(await change("wrong password")) == "bad_credentials"
        assert limited(await change(PASSWORD))


async def test_a_client_that_waits_as_long_as_told_is_let_in(redis_settings: RedisSettings) -> None:
    async with Redis.from_url(redis_settings.redis_url) as redis:
        api = ApiSettings(jwt_secret=JWT_SECRET, rate_limit_login="1 per 2 seconds;9/minute")
        limits, waits = SignInLimits(api, redis), []

        async def let_in() -> bool:
            try:
                await limits.sign_in("login", host="192.0.2.1", email="a@example.org")
            except TooMany as refusal:
                waits.append(refusal.facts["retry_after_s"])
                return False
            return True

        assert await let_in()
        # An attempt that is too early does not extend the wait.
        assert not await let_in()
        await eventually(let_in)
        assert set(waits) <= {1, 2}


async def test_off_means_no_limit(
    database: DatabaseSettings, redis_settings: RedisSettings, pool: Pool
) -> None:
    person = await add_user(pool)
    async with serving(database, redis_settings, rate_limit_login="off") as api:
        answers = await asyncio.gather(*(sign_in(api, person.email) for _ in range(120)))
    assert {answer.status_code for answer in answers} == {401}


async def test_redis_holds_no_email_and_no_address(
    database: DatabaseSettings, redis_settings: RedisSettings, pool: Pool
) -> None:
    person = await add_user(pool)
    async with serving(database, redis_settings) as api:
        await sign_in(api, person.email)
    async with Redis.from_url(redis_settings.redis_url) as redis:
        keys = [key.decode() for key in await redis.keys()]
        assert len(keys) == 2
        assert all(key.startswith("solarhub:limits:") for key in keys)
        assert not any(person.email in key or "127.0.0.1" in key for key in keys)
        assert all([0 < await redis.ttl(key) <= 60 for key in keys])


async def test_without_redis_all_attempts_pass_with_one_warning(
    database: DatabaseSettings, tmp_path: Path, person: Person
) -> None:
    with embedded.valkey(tmp_path, durable=False) as valkey:
        settings = RedisSettings(redis_url=valkey.url)
        async with serving(database, settings, rate_limit_login="1/minute") as api:
            assert (await sign_in(api, person.email, PASSWORD)).is_success
            assert limited(await sign_in(api, person.email, PASSWORD))
            valkey.child.stop()
            with capture_logs() as logs:
                for _ in range(5):
                    assert (await sign_in(api, person.email, PASSWORD)).is_success
    [warning] = [line for line in logs if line["event"] == "rate_limits_not_counted"]
    assert warning["log_level"] == "warning"


async def test_a_redis_that_does_not_respond_is_not_called_again(
    database: DatabaseSettings, person: Person
) -> None:
    async with silent_server() as (url, connections):
        settings = RedisSettings(redis_url=url)
        async with serving(database, settings, rate_limit_login="1/minute") as api:
            for _ in range(5):
                assert (await sign_in(api, person.email, PASSWORD)).is_success
    assert len(connections) == 1


async def test_attempts_count_again_when_redis_is_back(tmp_path: Path) -> None:
    with embedded.valkey(tmp_path, durable=False) as valkey:
        url = valkey.url
    async with Redis.from_url(url) as redis:
        api = ApiSettings(jwt_secret=JWT_SECRET, rate_limit_login="1/minute")
        limits = SignInLimits(api, redis, pause_s=0.05)

        async def refused() -> bool:
            try:
                await limits.sign_in("login", host="192.0.2.1", email="a@example.org")
            except TooMany:
                return True
            return False

        assert [await refused() for _ in range(3)] == [False] * 3
        with embedded.valkey(tmp_path, durable=False):
            await eventually(refused)


@pytest.fixture
async def person(pool: Pool) -> Person:
    return await add_user(pool)


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, list[object]]]:
    """A server that accepts connections and sends nothing: its URL and the connections."""
    came: list[object] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        await reader.read()
        writer.close()

    port = free()
    async with await asyncio.start_server(hear, "127.0.0.1", port) as server:
        yield f"redis://127.0.0.1:{port}", came
        server.close()
