"""Real servers for every test: one PostgreSQL per run, one Valkey per worker, brokers per test.

With `SOLARHUB_TEST_DATABASE_URL` the tests run on that server, which may have TimescaleDB; with
`SOLARHUB_TEST_POSTGRES=$(pg_config --bindir)` all do, on servers out of these programs that do have
it, those that are killed included. With `SOLARHUB_REQUIRE=mosquitto,chromium` a test that lacks one
of these fails instead of being skipped.
"""

import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import hypothesis
import pytest
import structlog
import trustme
from hypothesis import HealthCheck
from redis.asyncio import Redis

from core.settings import DatabaseSettings, RedisSettings
from db.pool import Connection, Pool, open_pool
from solarhub import embedded
from tests.support import databases
from tests.support.directories import temporary_directory
from tests.support.mosquitto import Mosquitto, SecuredMosquitto, find, find_plugin
from tests.support.ports import free

_OURS = {
    "SOLARHUB_REQUIRE", "SOLARHUB_TEST_FLEET", "SOLARHUB_TEST_PICTURES", "SOLARHUB_TEST_ROUNDS",
    "SOLARHUB_TEST_SEED", "SOLARHUB_TEST_TURMOIL", databases.OWN_SERVER, databases.OWN_PROGRAMS,
}  # fmt: skip
_servers = pytest.StashKey[tuple[str, str]]()

# How fast a machine is, or how busy, decides no test.
hypothesis.settings.register_profile(
    "solarhub",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("solarhub")


def pytest_configure(config: pytest.Config) -> None:
    """The first process starts what all share; it ends with the run, however that ends."""
    for name in [n for n in os.environ if n.startswith("SOLARHUB_") and n not in _OURS]:
        del os.environ[name]
    _log_plainly()
    if hasattr(config, "workerinput"):
        config.stash[_servers] = config.workerinput["servers"]
        return
    if config.option.collectonly:
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack = ExitStack()
    config.add_cleanup(stack.close)
    directory = stack.enter_context(temporary_directory())
    url = stack.enter_context(databases.server(directory / "postgres"))
    config.stash[_servers] = url, stack.enter_context(databases.template(url))


def _log_plainly() -> None:
    """Tracebacks without what variables hold: to render those stops an event loop for seconds."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for somebody most of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: pytest.Item) -> None:
    """Tell an xdist worker where the servers are."""
    node.workerinput["servers"] = node.config.stash[_servers]


def require(name: str, found: str | None) -> str:
    """A program that tests need: where it is, or this test is skipped (or fails, if required)."""
    if found is not None:
        return found
    if name in os.environ.get("SOLARHUB_REQUIRE", "").split(","):
        pytest.fail(f"{name} is not installed, and SOLARHUB_REQUIRE asks for it")
    pytest.skip(f"{name} is not installed")


@pytest.fixture
async def empty_database(pytestconfig: pytest.Config) -> AsyncIterator[DatabaseSettings]:
    """A database that was never migrated."""
    url, _ = pytestconfig.stash[_servers]
    async with databases.clone(url) as database_url:
        yield _patient(database_url)


@pytest.fixture
async def database(pytestconfig: pytest.Config) -> AsyncIterator[DatabaseSettings]:
    """A migrated database of the test's own."""
    url, template = pytestconfig.stash[_servers]
    async with databases.clone(url, template) as database_url:
        yield _patient(database_url)


def _patient(database_url: str) -> DatabaseSettings:
    """Timeouts that a busy machine does not reach."""
    return DatabaseSettings(
        database_url=database_url,
        database_connect_timeout=timedelta(seconds=30),
        database_statement_timeout=timedelta(seconds=30),
    )


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    async with open_pool(database, application_name="test") as pool:
        yield pool


@pytest.fixture
async def conn(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as conn:
        yield conn


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.valkey(tmp_path_factory.mktemp("valkey"), durable=False) as server:
        yield server.url


@pytest.fixture
async def redis_settings(valkey_url: str) -> RedisSettings:
    """The worker's Valkey, empty."""
    async with Redis.from_url(valkey_url) as redis:
        await redis.flushall()
    return RedisSettings(redis_url=valkey_url)


@contextmanager
def data_directory() -> Iterator[Path]:
    """A hub's data directory, where anyone may pass: root's PostgreSQL runs as somebody else.

    pytest closes its own directories again whenever another run of it begins.
    """
    with temporary_directory() as directory:
        yield directory


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as directory:
        yield directory


@dataclass(frozen=True, slots=True)
class Broker:
    """The embedded broker; `url` is the hub's own, with its password."""

    port: int
    hub_password: str

    @property
    def url(self) -> str:
        return f"mqtt://hub:{self.hub_password}@127.0.0.1:{self.port}"


@pytest.fixture
async def broker(pool: Pool) -> AsyncIterator[Broker]:
    running = Broker(free(), secrets.token_urlsafe(16))
    async with embedded.broker(pool, port=running.port, hub_password=running.hub_password):
        yield running


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running Mosquitto that keeps its queue when it is killed and started again."""
    program = require("mosquitto", find())
    running = Mosquitto(program, tmp_path)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def secured_mosquitto(
    directory: Path, authority: trustme.CA | None = None, *, autosave_s: int = 1
) -> Iterator[SecuredMosquitto]:
    program = require("mosquitto", find())
    plugin = require("mosquitto", find_plugin(program))
    running = SecuredMosquitto(program, plugin, directory, authority, autosave_s=autosave_s)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SecuredMosquitto]:
    """A running Mosquitto as compose.yaml starts it: it knows nobody but the hub."""
    with secured_mosquitto(tmp_path) as running:
        yield running
