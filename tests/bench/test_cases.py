"""Tests of whole cases: one command runs them, writes their results, and leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from solarhub.child import temporary_directory
from tests.conftest import require
from tests.support.mosquitto import find


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory for a run's data, with a path that is short enough for sockets."""
    with temporary_directory() as directory:
        yield directory


def bench(scratch: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "solarhub", "bench", *arguments, "--rounds=1", f"--out={scratch}"],
        env={**os.environ, "TMPDIR": str(scratch), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def read_result(scratch: Path, case: str) -> dict[str, Any]:
    assert (scratch / f"{case}.png").read_bytes().startswith(b"\x89PNG")
    document: dict[str, Any] = json.loads((scratch / f"{case}.json").read_text())
    return document


def left_running(scratch: Path) -> list[str]:
    commands = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    return [command for command in commands if str(scratch) in command]


@pytest.mark.slow
def test_ingestion_is_measured_against_its_floors(scratch: Path) -> None:
    require("mosquitto", find())
    run = bench(scratch, "ingest", "ingest-batched", "--readings=10000")
    assert run.returncode == 0, run.stderr
    for case, other in (("ingest", "floor"), ("ingest-batched", "COPY")):
        result = read_result(scratch, case)
        assert result["audit_passed"]
        assert [c["name"] for c in result["contestants"]] == ["hub", other]
        assert result["ratios"][other] > 0
        used_us = result["contestants"][0]["samples"][0]["cpu_us"]
        assert used_us.keys() == {"ingester", "Mosquitto", "PostgreSQL"}
        assert min(used_us["ingester"], used_us["PostgreSQL"]) > 0
    assert left_running(scratch) == []
    assert list(scratch.glob("solarhub-*")) == []


@pytest.mark.slow
def test_costs_are_measured_as_fleet_and_market_grow(scratch: Path) -> None:
    require("mosquitto", find())
    require("wrk", shutil.which("wrk"))
    run = bench(scratch, "scale", "--readings=10000", "--listings=30000", "--seconds=1")
    assert run.returncode == 0, run.stderr
    result = read_result(scratch, "scale")
    assert result["audit_passed"]
    assert [c["name"] for c in result["contestants"]][-1] == "10,000 devices"
    assert all(c["samples"][0]["rss_mb"] > 0 for c in result["contestants"])
    result = read_result(scratch, "scale-purchases")
    assert result["audit_passed"]
    assert [c["name"] for c in result["contestants"]] == ["10,000 listings", "30,000 listings"]
    assert all(c["samples"][0]["cpu_us"]["PostgreSQL"] > 0 for c in result["contestants"])
    [target] = result["targets"]
    assert target["what"] == "time of a purchase, 30,000 listings"


@pytest.mark.slow
def test_purchases_are_measured_against_bare_statements(scratch: Path) -> None:
    require("wrk", shutil.which("wrk"))
    run = bench(scratch, "purchase-hot", "--seconds=1")
    assert run.returncode == 0, run.stderr
    result = read_result(scratch, "purchase-hot")
    assert result["audit_passed"]
    assert [c["name"] for c in result["contestants"]] == ["hub", "pgbench"]
    assert result["contestants"][0]["samples"][0]["p99_ms"] > 0
    assert left_running(scratch) == []


@pytest.mark.slow
def test_without_node_the_result_names_the_absent_peer(
    scratch: Path,
) -> None:
    programs = scratch / "programs"
    programs.mkdir()
    (programs / "wrk").symlink_to(require("wrk", shutil.which("wrk")))
    run = bench(scratch, "purchase", "--seconds=1", PATH=str(programs))
    assert run.returncode == 0, run.stderr
    result = read_result(scratch, "purchase")
    assert [c["name"] for c in result["contestants"]] == ["hub", "pgbench"]
    assert [target["what"] for target in result["targets"]] == ["of pgbench", "p99 ms"]
    [absent] = result["absent"]
    assert absent.startswith("Express is not measured against: it needs Node")
    assert absent in run.stdout


@pytest.mark.slow
def test_browsing_is_measured_in_small_and_large_markets(scratch: Path) -> None:
    require("wrk", shutil.which("wrk"))
    run = bench(scratch, "nearby", "listings", "--seconds=1", "--listings=30000")
    assert run.returncode == 0, run.stderr
    for case, names in (
        ("nearby", ["hub, 10,000", "hub, 30,000"]),
        ("listings", ["hub, page 1", "hub, page 1,000"]),
    ):
        result = read_result(scratch, case)
        assert result["audit_passed"]
        hub = [c for c in result["contestants"] if c["name"].startswith("hub")]
        assert [c["name"] for c in hub] == names
        assert min(c["samples"][0]["p99_ms"] for c in hub) > 0
        assert f"time of {names[1]}" in [target["what"] for target in result["targets"]]
    assert left_running(scratch) == []


def test_a_missing_program_is_named(scratch: Path) -> None:
    run = bench(scratch, "ingest", "purchase", PATH="/nowhere")
    assert run.returncode == 1
    assert run.stderr.startswith("wrk is not installed:")
