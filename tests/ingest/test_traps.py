"""Faults that owners of these devices report elsewhere: none of them counts as energy."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from random import Random
from uuid import UUID

import pytest

from core.settings import DatabaseSettings
from core.units import slot_of
from db.audit import audit
from db.pool import Pool
from ingest.firmware_decoding import close_request
from ingest.messages import IngestMessage
from ingest.writer import write
from tests.ingest.test_firmware_decoding import (
    HORIZON,
    SERIAL,
    ingest,
    measurement,
    state_of,
)
from tests.ingest.world import add_named, intervals_of, message

BEGAN_AT = slot_of(datetime.now(UTC)) - timedelta(hours=2)


def minute(n: float) -> datetime:
    return BEGAN_AT + timedelta(minutes=n)


def grott(
    n: float, total: float, *, buffered: str = "no", key: str = "pvenergytotal"
) -> IngestMessage:
    record = {
        "device": "NTCIA00001",
        "time": (minute(n) + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S"),
        "buffered": buffered,
        "values": {"pvpowerout": 100, key: total},
    }
    return message("energy/growatt/NTCIA00001", json.dumps(record).encode())


def tasmota(n: float, **energy: object) -> IngestMessage:
    document = {"Time": minute(n).isoformat(), "ENERGY": energy}
    return message("tele/plug/SENSOR", json.dumps(document).encode())


def shelly(n: float, values: Iterable[float], field: str = "total") -> list[IngestMessage]:
    return [
        message(f"shellies/em/emeter/{phase}/{field}", str(value).encode(), received_at=minute(n))
        for phase, value in enumerate(values)
    ]


async def generated_wh(pool: Pool, device: UUID) -> float:
    return float(sum(slot["generated_wh"] for slot in await intervals_of(pool, device)))


async def surplus_wh(pool: Pool, device: UUID) -> float:
    return float(sum(slot["surplus_wh"] for slot in await intervals_of(pool, device)))


async def reasons(pool: Pool, device: UUID) -> set[str]:
    return {reason for slot in await intervals_of(pool, device) for reason in slot["reasons"]}


@pytest.mark.parametrize("underflow", [2**32 - 1, 42949672.95, 4294932547, 2**40])
async def test_an_underflow_and_a_counter_wider_than_32_bits_are_a_spike(
    pool: Pool, underflow: float
) -> None:
    device = await add_named(pool, "grott", "NTCIA00001")
    for n, total in enumerate([5264, 5265, underflow, 5266, 5267]):
        await ingest(pool, grott(5 * n, total))
    assert await generated_wh(pool, device) == 300
    assert "spike" in await reasons(pool, device)


async def test_history_that_arrives_late_unordered_and_repeated_counts_once(pool: Pool) -> None:
    device = await add_named(pool, "grott", "NTCIA00001")
    await ingest(pool, grott(0, 2154), grott(20, 2158))
    for n, total in ((10, 2156), (5, 2155), (15, 2157), (10, 2156), (5, 2155)):
        await ingest(pool, grott(n, total, buffered="yes"))
    assert await generated_wh(pool, device) == 400
    state = await state_of(pool, device)
    assert (state["received"], state["stored"], state["duplicate"]) == (7, 5, 2)


async def test_a_net_counter_is_never_energy_whichever_way_it_runs(pool: Pool) -> None:
    meter = await add_named(pool, "tasmota", "plug", kind="meter")
    for n, net in enumerate([16647.9, 16648.0, 16647.5, 16646.0, 16648.0]):
        await ingest(pool, tasmota(n, Total=net, Power=-500, ExportActive=[10 + n / 100, 5]))
    assert await generated_wh(pool, meter) == 0
    assert await surplus_wh(pool, meter) == 40


async def test_a_phase_that_is_silent_for_a_while_is_no_reset_of_the_others(pool: Pool) -> None:
    meter = await add_named(pool, "tasmota", "plug", kind="meter")
    for n, phases in (
        (0, [20, 20, 20]),
        (5, [20, 20.1, 20]),
        (10, [20, 20.1, None]),
        (100, [20, 20.1, 20.1]),
        (105, [20.1, 20.1, 20.1]),
    ):
        await ingest(pool, tasmota(n, ExportActive=phases))
    assert await surplus_wh(pool, meter) == 300
    rows = await pool.fetch("SELECT export_wh FROM telemetry ORDER BY time")
    shown = [row[0] and round(row[0], 3) for row in rows]
    assert shown == [60_000, 60_100, None, 60_200, 60_300]


async def test_two_inverters_behind_a_gateway_are_never_one_counter_that_jumps(
    pool: Pool,
) -> None:
    device = await add_named(pool, "senml", "roof")
    for n in range(12):
        name, wh = ("east", 500 + 10 * n) if n % 2 else ("west", 3000 + 10 * n)
        record = {"n": name, "u": "Wh", "v": wh, "t": minute(5 * n).timestamp()}
        await ingest(pool, message("senml/roof", json.dumps([record]).encode()))
    # Each rose by 100 Wh from its first reading to its last.
    assert await generated_wh(pool, device) == 200
    assert await reasons(pool, device) == set()


async def test_an_inverter_that_a_gx_loses_for_a_while_is_no_reset_of_the_others(
    pool: Pool,
) -> None:
    device = await add_named(pool, "victron", "c0619aba2ebd")

    def gx(n: float, instance: int, kwh: float | None) -> IngestMessage:
        return message(
            f"N/c0619aba2ebd/pvinverter/{instance}/Ac/L1/Energy/Forward",
            b"" if kwh is None else json.dumps({"value": kwh}).encode(),
            received_at=minute(n),
        )

    await ingest(pool, gx(0, 20, 5000), gx(0, 21, 70))
    await ingest(pool, gx(5, 20, 5000.1), gx(5, 21, None))
    await ingest(pool, gx(10, 20, 5000.2), gx(15, 20, 5000.3), gx(15, 21, 70.5))
    await ingest(pool, close_request(("victron", "c0619aba2ebd"), minute(16)))
    assert await generated_wh(pool, device) == 300 + 500
    assert await reasons(pool, device) == set()


def two_ways(n: float, total: float, returned: float | None = None) -> IngestMessage:
    status = {"aenergy": {"total": total}}
    if returned is not None:
        status["ret_aenergy"] = {"total": returned}
    return message("plug/status/switch:0", json.dumps(status).encode(), received_at=minute(n))


async def test_energy_that_a_plug_draws_at_night_is_no_generation(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await add_named(pool, "shelly2", "plug")
    for n, counted in (
        (0, two_ways(0, 10_000, 500)),
        (10, two_ways(10, 10_012, 512)),
        (20, two_ways(20, 10_024)),
        (30, two_ways(30, 10_048, 548)),
    ):
        await ingest(pool, counted, close_request(("shelly2", "plug"), minute(n + 1)))
    assert (await generated_wh(pool, device), await surplus_wh(pool, device)) == (0, 0)
    rows = await pool.fetch("SELECT energy_wh, import_wh FROM telemetry ORDER BY time")
    assert [tuple(row) for row in rows] == [
        (9500, 500), (9500, 512), (None, None), (9500, 548),
    ]  # fmt: skip
    await ingest(pool, two_ways(35, 10_150, 550), close_request(("shelly2", "plug"), minute(36)))
    assert await generated_wh(pool, device) == 100
    async with pool.acquire() as conn:
        assert [check async for check in audit(conn, database) if not check.ok] == []


async def test_discharged_energy_of_the_grid_is_no_generation(
    pool: Pool,
) -> None:
    device = await add_named(pool, "grott", "NTCIA00001")
    for n, (put_out, charged) in enumerate([(5000, 900), (5000, 904), (5003, 904), (5006, 904)]):
        sent = grott(5 * n, put_out)
        record = json.loads(sent.payload)
        record["values"]["eacharge_total"] = charged
        await ingest(pool, message(sent.topic, json.dumps(record).encode()))
    assert await generated_wh(pool, device) == 200


async def test_consumption_of_a_house_is_never_generation(pool: Pool) -> None:
    meter = await add_named(pool, "shelly1", "em", kind="meter")
    for n in range(4):
        await ingest(pool, *shelly(n, [1000 + 20 * n, 2000 + 20 * n, 3000]))
        await ingest(
            pool,
            *shelly(n, [1000, 1000, 400], "power"),
            close_request(("shelly1", "em"), minute(n) + timedelta(seconds=2)),
        )
    assert (await generated_wh(pool, meter), await surplus_wh(pool, meter)) == (0, 0)
    rows = await pool.fetch("SELECT power_w, energy_wh, import_wh FROM telemetry ORDER BY time")
    assert [tuple(row) for row in rows] == [(-2400, None, 6000 + 40 * n) for n in range(4)]


async def test_a_repeated_counter_value_counts_nothing(pool: Pool) -> None:
    device = await add_named(pool, "shelly1", "em")
    for n, total in enumerate([100, 110, 110, 110, 115]):
        await ingest(pool, *shelly(n, [total, total, total]))
    await ingest(pool, *shelly(3, [110, 110, 110]), *shelly(9, [115, 115, 115]))
    assert await generated_wh(pool, device) == 45


async def test_totals_of_0_at_night_count_nothing(pool: Pool) -> None:
    device = await add_named(pool, "opendtu", SERIAL)
    for n, total in enumerate([457.094, 457.100, 0, 0, 457.100, 457.106]):
        await ingest(pool, *measurement(minute(n), 5, total))
    await ingest(pool, close_request(("opendtu", SERIAL), minute(9)))
    assert await generated_wh(pool, device) == 12
    assert await reasons(pool, device) == {"zero"}


@pytest.mark.parametrize("order", list(permutations(range(4)))[::4])
@pytest.mark.parametrize("phases", [1, 2])
async def test_a_reset_that_lies_before_the_last_reading_is_not_counted_twice(
    pool: Pool, database: DatabaseSettings, order: Sequence[int], phases: int
) -> None:
    device = await add_named(pool, "tasmota", "plug")
    long_ago, reset_at = minute(-5000).isoformat(), minute(16).isoformat()

    def total(kwh: float) -> object:
        return [kwh / phases] * phases if phases > 1 else kwh

    # From minute 20 on it counts from minute 16, after reports of what it counted before.
    messages = [
        tasmota(0, Total=total(1.0), TotalStartTime=long_ago),
        tasmota(20, Total=total(1.1), TotalStartTime=long_ago),
        tasmota(25, Total=total(0.06), TotalStartTime=reset_at),
        tasmota(30, Total=total(0.08), TotalStartTime=reset_at),
    ]
    for n in order:
        await ingest(pool, messages[n])
    # 20 Wh of this value were credited in minutes 16 to 20.
    assert await generated_wh(pool, device) == 100 + (60 - 20) + 20
    assert "reset" in await reasons(pool, device)
    async with pool.acquire() as conn:
        assert [check async for check in audit(conn, database) if not check.ok] == []


async def test_a_relay_that_resets_its_counter_at_a_restart_counts_from_0(pool: Pool) -> None:
    device = await add_named(pool, "shelly1", "plug-s")
    for n, watt_minutes in enumerate([60_000, 60_600, 300, 900]):
        await ingest(
            pool,
            message("shellies/plug-s/relay/0/energy", str(watt_minutes).encode(),
                    received_at=minute(n)),
            close_request(("shelly1", "plug-s"), minute(n) + timedelta(seconds=2)),
        )  # fmt: skip
    assert await generated_wh(pool, device) == 10 + 5 + 10


async def test_a_field_that_is_no_number_does_not_affect_the_others(pool: Pool) -> None:
    device = await add_named(pool, "tasmota", "plug")
    for n, power in enumerate([None, "nan", "", "much", [None, "nan"]]):
        await ingest(pool, tasmota(n, Total=5 + n / 100, Power=power, Voltage="nan"))
    assert await generated_wh(pool, device) == 40
    assert (await state_of(pool, device))["rejected"] == 0


@pytest.mark.parametrize("seed", range(5))
async def test_messages_that_are_delivered_again_after_a_crash_change_no_energy(
    pool: Pool, database: DatabaseSettings, seed: int
) -> None:
    """Messages are delivered at least once, parts of a measurement included."""
    random = Random(seed)
    device = await add_named(pool, "opendtu", SERIAL)
    stream = [
        part for n in range(20) for part in measurement(minute(n), 300 + n, 457 + n * 6 / 1000)
    ]
    for batch in delivered(stream, random):
        await write(pool, batch, HORIZON)
    await ingest(pool, close_request(("opendtu", SERIAL), minute(60)))
    assert await generated_wh(pool, device) == 19 * 6
    async with pool.acquire() as conn:
        checks = [check async for check in audit(conn, database) if not check.ok]
    assert checks == []


def delivered(stream: Sequence[IngestMessage], random: Random) -> Iterable[Sequence[IngestMessage]]:
    """Yield batches of a stream in which the last few messages are sometimes repeated."""
    at = 0
    while at < len(stream):
        end = min(len(stream), at + random.randint(1, 9))
        yield stream[at:end]
        at = end if random.random() < 0.6 else max(at, end - random.randint(1, 6))
        if at < end == len(stream):
            at = end if random.random() < 0.5 else at
