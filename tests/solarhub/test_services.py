"""One process of each kind: it comes up, says that it lives, and ends in peace when asked."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from core.settings import DatabaseSettings, RedisSettings
from tests.support.hubs import environment, run
from tests.support.mosquitto import Mosquitto
from tests.support.ports import free
from tests.support.waiting import eventually

ENDS_WITHIN_S = 10
SECRET = "a secret of at least thirty-two bytes"


@contextmanager
def process(kind: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "solarhub", kind, "--data", "/nonexistent"],
        env=environment(settings), stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("kind", ["api", "ingest"])
def test_a_grid_that_takes_no_more_than_it_pays_stops_a_process_at_its_start(kind: str) -> None:
    stopped = run(
        kind,
        SOLARHUB_DATABASE_URL="postgresql://127.0.0.1:1/none",
        SOLARHUB_MQTT_URL="mqtt://127.0.0.1:1",
        SOLARHUB_JWT_SECRET=SECRET,
        SOLARHUB_GRID_RETAIL_PRICE="3.0000",
    )
    assert stopped.returncode == 2
    expected = "SOLARHUB_GRID_EXPORT_PRICE: must be lower than SOLARHUB_GRID_RETAIL_PRICE"
    assert expected in stopped.stderr


@pytest.mark.parametrize(
    ("kind", "sign"),
    [
        ("api", "python_info"),
        ("realtime", "solarhub_feed_clients"),
        ("ingest", "solarhub_readings_received_total"),
        ("relay", "solarhub_relay_active 1.0"),
    ],
)
async def test_a_process_tells_that_it_lives_and_ends_when_asked(
    kind: str,
    sign: str,
    database: DatabaseSettings,
    redis_settings: RedisSettings,
    mosquitto: Mosquitto,
) -> None:
    port = free()
    settings = {
        "SOLARHUB_DATABASE_URL": database.database_url,
        "SOLARHUB_REDIS_URL": redis_settings.redis_url,
        "SOLARHUB_MQTT_URL": mosquitto.url,
        "SOLARHUB_JWT_SECRET": SECRET,
        "SOLARHUB_API_PORT": str(port),
        "SOLARHUB_REALTIME_PORT": str(port),
        "SOLARHUB_METRICS_PORT": str(port),
    }

    async def lives() -> bool:
        assert running.poll() is None, running.communicate()
        try:
            return sign in (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        except httpx.TransportError:
            return False

    with process(kind, **settings) as running:
        async with httpx.AsyncClient(verify=False) as http:
            await eventually(lives, within_s=60)
        running.terminate()
        _, errors = running.communicate(timeout=ENDS_WITHIN_S)
        assert running.returncode == 0, errors
        assert SECRET not in errors


def test_a_metrics_port_that_is_taken_is_named(
    database: DatabaseSettings, redis_settings: RedisSettings, mosquitto: Mosquitto
) -> None:
    settings = {
        "SOLARHUB_DATABASE_URL": database.database_url,
        "SOLARHUB_REDIS_URL": redis_settings.redis_url,
        "SOLARHUB_METRICS_PORT": str(mosquitto.port),
    }
    with process("relay", **settings) as running:
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 1
        assert f"SOLARHUB_METRICS_PORT {mosquitto.port}" in errors.splitlines()[-1]
