"""The demonstration: everything at once, to its end."""

import re
import signal
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from tests.support.hubs import hub
from tests.support.waiting import eventually

_SECONDS = 40
_LAG = "SELECT clock_timestamp() - hub_clock_timestamp()"
_BOUGHT = "SELECT count(*) FROM energy_transactions"


@pytest.mark.slow
async def test_the_demo_trades_and_its_books_hold(data: Path) -> None:
    with hub(data, "--demo", "--seconds", str(_SECONDS)) as running:
        output, errors = running.process.communicate(timeout=180)
        assert running.process.returncode == 0, output + errors
        assert not running.processes()
    for told in (
        "first listing.updated on a socket after",
        "ok    wallets",
        "admin",
        "host",
        "buyer",
    ):
        assert told in output
    # A later run on the same directory is in real time again.
    with hub(data) as running:
        run = running.wait_ready()
        assert "clock" not in run
        conn = await asyncpg.connect(str(run["database_url"]))
        assert timedelta(0) <= -(await conn.fetchval(_LAG)) < timedelta(seconds=10)
        await conn.close()


@pytest.mark.slow
async def test_ctrl_c_ends_the_demo_with_its_summary_and_audit(data: Path) -> None:
    with hub(data, "--demo", "--speed", "600") as running:
        run = running.wait_ready()
        conn = await asyncpg.connect(str(run["database_url"]))
        assert await conn.fetchval(_LAG) > timedelta(days=20)

        async def has_bought() -> bool:
            return bool(await conn.fetchval(_BOUGHT))

        await eventually(has_bought, within_s=120)
        await conn.close()
        running.process.send_signal(signal.SIGINT)
        output, errors = running.process.communicate(timeout=120)
        assert running.process.returncode == 0, output + errors
        assert not running.processes()
    sold = re.search(r"energy sold\W+([\d.]+) kWh", output)
    assert sold is not None
    assert float(sold[1]) > 0
    assert "ok    wallets" in output
