"""An ingester that is killed half way through a measurement: it is counted as if nothing was."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import aiomqtt

from core.settings import DatabaseSettings
from db.audit import audit
from db.pool import Pool
from tests.end_to_end.turmoil import Part
from tests.ingest.world import add_following_listing, add_named, intervals_of
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

# 6 Wh is what a meter of 5 kW may show after a moment.
COUNTED_WH = (600_000.0, 600_006.0)

Said = Sequence[tuple[str, str]]


def opendtu(total_wh: float) -> tuple[Said, Said]:
    """Its time and power, and only then its counter."""
    dtu = "solar/114182940773"
    first = [(f"{dtu}/status/last_update", str(int(datetime.now(UTC).timestamp())))]
    first += [(f"{dtu}/status/reachable", "1"), (f"{dtu}/0/power", "300.5")]
    return first, [(f"{dtu}/0/yieldtotal", f"{total_wh / 1000:.3f}"), (f"{dtu}/0/voltage", "230")]


def victron(total_wh: float) -> tuple[Said, Said]:
    """Power and one phase, and only then the other two: the counter is their sum."""
    gx = "N/c0619aba2ebd"

    def phase(n: int) -> tuple[str, str]:
        value = json.dumps({"value": total_wh / 3 / 1000})
        return f"{gx}/pvinverter/20/Ac/L{n}/Energy/Forward", value

    power = (f"{gx}/system/0/Ac/PvOnGrid/L1/Power", json.dumps({"value": 300.5}))
    return [power, phase(1)], [phase(2), phase(3)]


async def test_a_measurement_that_was_half_told_when_the_ingester_was_killed_counts_once(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    devices = [
        await add_named(pool, "opendtu", "114182940773"),
        await add_named(pool, "victron", "c0619aba2ebd"),
    ]
    for device in devices:
        await add_following_listing(pool, device, datetime.now(UTC) - timedelta(hours=1))
    ingester = ingester_of(database, mosquitto, tmp_path)
    await ingester.start()
    try:
        await eventually(lambda: b"killed" in mosquitto.saved(), within_s=30)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for n, total_wh in enumerate(COUNTED_WH):
                told = [opendtu(total_wh), victron(total_wh)]
                await publish(client, (part for first, _ in told for part in first))
                if n == 0:  # Killed once the half is kept, and then while it is on its way.
                    await eventually(partial(half_is_kept, pool), within_s=30)
                await ingester.end()
                await publish(client, (part for _, rest in told for part in rest))
                await ingester.start()
                await eventually(partial(counters_are_told, pool, n + 1), within_s=60)
    finally:
        await ingester.end()
    for device in devices:
        assert await counted(pool, device) == COUNTED_WH
        gained_wh = COUNTED_WH[-1] - COUNTED_WH[0]
        assert await accounted(pool, device) == (gained_wh, gained_wh, gained_wh, {"measured"})
    async with pool.acquire() as conn:
        assert [check.name async for check in audit(conn, database) if not check.ok] == []
    assert "Traceback" not in ingester.log.read_text()


def ingester_of(database: DatabaseSettings, mosquitto: Mosquitto, directory: Path) -> Part:
    return Part(
        "ingest",
        directory / "ingest.log",
        {
            "SOLARHUB_DATABASE_URL": database.database_url,
            "SOLARHUB_MQTT_URL": mosquitto.url,
            "SOLARHUB_INGEST_CLIENT_ID": "killed",
        },
    )


async def publish(client: aiomqtt.Client, parts: Iterable[tuple[str, str]]) -> None:
    for topic, payload in parts:
        await client.publish(topic, payload, qos=1)


async def half_is_kept(pool: Pool) -> bool:
    return bool(
        await pool.fetchval("SELECT count(*) = 2 FROM device_partials WHERE closes_at IS NOT NULL")
    )


async def counters_are_told(pool: Pool, times: int) -> bool:
    """Both devices' counters, so many times."""
    told = await pool.fetch(
        "SELECT count(*) FROM telemetry WHERE energy_wh IS NOT NULL GROUP BY device_id"
    )
    assert [row["count"] for row in told] == [times, times]
    return True


async def counted(pool: Pool, device_id: UUID) -> tuple[float, ...]:
    rows = await pool.fetch(
        "SELECT energy_wh FROM telemetry WHERE device_id = $1 AND energy_wh IS NOT NULL"
        " ORDER BY time",
        device_id,
    )
    return tuple(round(row["energy_wh"], 3) for row in rows)


async def accounted(pool: Pool, device_id: UUID) -> tuple[float, float, float, set[str]]:
    """Generated, surplus, and on offer, in watt-hours; and of which quality."""
    slots = await intervals_of(pool, device_id)
    offered_kwh = await pool.fetchval(
        "SELECT energy_amount_kwh FROM energy_listings WHERE device_id = $1", device_id
    )
    return (
        sum(slot["generated_wh"] for slot in slots),
        sum(slot["surplus_wh"] for slot in slots),
        float(1000 * offered_kwh),
        {slot["quality"] for slot in slots},
    )
