"""A fleet with every fault, through the whole hub: the truth is counted, or the slots say why not.

Its full size is a command: see docs/simulators.md.
"""

import json
from collections import Counter
from pathlib import Path

from simulators.delivery import DELIVERY_FAULTS
from simulators.faults import METER_FAULTS, Fault
from tests.support import hubs

HOMES = 200
EVERY_S = 600


def test_a_day_of_a_faulty_fleet_is_counted_truly_or_says_why_not(data: Path) -> None:
    truth = data / "truth.json"
    # A line in the log for each request would fill the pipe that nobody reads.
    quiet = {"SOLARHUB_RATE_LIMIT_LOGIN": "off", "SOLARHUB_LOG_LEVEL": "warning"}
    with hubs.hub(data, **quiet) as running:
        running.wait_ready()
        played = hubs.run(
            "simulate", "devices", "--data", str(data), "--count", str(HOMES),
            "--backfill", "24", "--rate", str(1 / EVERY_S), "--faults", "2026",
            "--truth", str(truth), "--check",
        )  # fmt: skip
        assert played.returncode == 0, played.stdout + played.stderr
        audit = hubs.run("audit", "--data", str(data))
        assert audit.returncode == 0, audit.stdout + audit.stderr
        running.end()
    devices = json.loads(truth.read_text())["devices"].values()
    assert len(devices) == HOMES
    assert sum(device["generated_uwh"] for device in devices) > HOMES * 10**9
    befell = Counter(hit["fault"] for device in devices for hit in device["faults"])
    assert set(befell) == {
        *METER_FAULTS,
        *DELIVERY_FAULTS,
        Fault.RECONNECT,
        Fault.NIGHT_ZERO,
        Fault.DAILY,
    }
