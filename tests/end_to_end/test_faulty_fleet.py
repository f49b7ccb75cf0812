"""Fleets with faults, through the whole hub: the truth is counted, or the slots say why not.

The full size is a command: see docs/simulators.md.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.faults import Fault
from tests.conftest import data_directory
from tests.support import hubs

HOMES = 200
EVERY_S = 600


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    # A line in the log for each request would fill the pipe that nobody reads.
    quiet = {"SOLARHUB_RATE_LIMIT_LOGIN": "off", "SOLARHUB_LOG_LEVEL": "warning"}
    with data_directory() as data, hubs.hub(data, **quiet) as running:
        running.wait_ready()
        yield data
        running.end()


def play(data: Path, homes: int, *options: str) -> tuple[str, Counter[str]]:
    """Return the command's report on a fleet that was compared with the hub, and its faults."""
    truth = data / "truth.json"
    played = hubs.run(
        "simulate", "devices", "--data", str(data), "--count", str(homes), "--check",
        "--truth", str(truth), *options,
    )  # fmt: skip
    print(played.stdout)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "0.000 in others, and 0.000 are too much" in played.stdout
    audit = hubs.run("audit", "--data", str(data))
    assert audit.returncode == 0, audit.stdout + audit.stderr
    devices = json.loads(truth.read_text())["devices"].values()
    assert len(devices) == homes
    assert sum(device["generated_uwh"] for device in devices) > homes * 10**9
    return played.stdout, Counter(hit["fault"] for device in devices for hit in device["faults"])


@pytest.mark.slow
def test_a_day_of_a_faulty_fleet_is_counted_truly_or_says_why_not(data: Path) -> None:
    told, befell = play(
        data, HOMES, "--backfill", "24", "--rate", str(1 / EVERY_S), "--faults", "2026",
        "--calm", "120",
    )  # fmt: skip
    assert set(befell) == set(Fault)
    exact = re.search(r"(\d+) of 200 devices are within", told)
    assert exact is not None
    assert int(exact[1]) > HOMES / 2


@pytest.mark.slow
def test_hours_of_a_faulty_fleet_that_is_connected_are_counted_truly_too(data: Path) -> None:
    _, befell = play(
        data, len(Fault), "--duration", "8", "--speed", "4400", "--sun", "07:00",
        "--rate", "24", "--faults", "7", "--kinds", "each", "--calm", "20", "--dialect", "mixed",
    )  # fmt: skip
    assert befell[Fault.RECONNECT]
    assert len(befell) > len(Fault) / 2
