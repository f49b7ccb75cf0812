"""Messages of firmwares, from topic and payload to rows: each measurement is one reading."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.units import slot_of
from db.pool import Pool, Record
from ingest.firmware_decoding import close_request
from ingest.messages import IngestMessage
from ingest.writer import WrittenBatch, write
from tests.ingest.world import add_following_listing, add_named, intervals_of, message

HORIZON = timedelta(days=7)
SLOT_START = slot_of(datetime.now(UTC)) - timedelta(hours=1)
SERIAL = "114182940773"


async def ingest(pool: Pool, *batch: IngestMessage) -> WrittenBatch:
    return await write(pool, batch, HORIZON)


def opendtu(field: str, payload: object, at: datetime) -> IngestMessage:
    return message(f"solar/{SERIAL}/{field}", str(payload).encode(), received_at=at)


def measurement(at: datetime, power: float, total_kwh: float) -> list[IngestMessage]:
    return [
        opendtu("status/last_update", int(at.timestamp()), at),
        opendtu("0/power", power, at),
        opendtu("0/yieldday", 12, at),
        opendtu("0/yieldtotal", total_kwh, at),
        opendtu("0/voltage", "231.4", at),
    ]


async def readings_of(pool: Pool, device: UUID) -> list[Record]:
    return await pool.fetch(
        "SELECT time, power_w, energy_wh, export_wh, import_wh, voltage_v FROM telemetry"
        " WHERE device_id = $1 ORDER BY time",
        device,
    )


async def state_of(pool: Pool, device: UUID) -> Record:
    row = await pool.fetchrow("SELECT * FROM device_states WHERE device_id = $1", device)
    assert row is not None
    return row


async def test_a_measurement_on_many_topics_is_one_reading(pool: Pool) -> None:
    device = await add_named(pool, "opendtu", SERIAL)
    await add_following_listing(pool, device, SLOT_START)
    for n in range(3):
        at = SLOT_START + timedelta(minutes=n)
        for told in measurement(at, 300 + n, 100 + n / 100):
            await ingest(pool, told)
    await ingest(pool, close_request(("opendtu", SERIAL), at + timedelta(seconds=4)))
    readings = await readings_of(pool, device)
    assert [row["time"] for row in readings] == [
        SLOT_START + timedelta(minutes=n) for n in (0, 1, 2)
    ]
    assert [row["energy_wh"] for row in readings] == [100_000, 100_010, 100_020]
    assert [row["power_w"] for row in readings] == [300, 301, 302]
    [interval] = await intervals_of(pool, device)
    assert (interval["generated_wh"], interval["quality"]) == (20, "measured")
    assert await pool.fetchval("SELECT energy_amount_kwh FROM energy_listings") * 1000 == 20
    state = await state_of(pool, device)
    assert (state["received"], state["stored"], state["status"]) == (3, 3, "online")


async def test_a_measurement_is_the_same_in_any_number_of_batches(pool: Pool) -> None:
    device = await add_named(pool, "opendtu", SERIAL)
    everything = [
        told
        for n in range(3)
        for told in measurement(SLOT_START + timedelta(minutes=n), n, 100 + n / 100)
    ]
    written = await ingest(pool, *everything)
    assert (written.received, written.stored, written.ignored) == (2, 2, 3)
    assert len(await readings_of(pool, device)) == 2


async def test_messages_of_unknown_devices_are_ignored_and_counted(pool: Pool) -> None:
    device = await add_named(pool, "opendtu", SERIAL)
    stranger = message("solar/114182940774/0/power", b"5")
    written = await ingest(
        pool, stranger, opendtu("status/limit_relative", "100", datetime.now(UTC))
    )
    assert (written.received, written.ignored) == (0, 2)
    assert await pool.fetchval("SELECT count(*) FROM rejections") == 0
    assert (await state_of(pool, device))["last_seen_at"] is None


async def test_a_device_is_known_from_its_registration_to_its_deletion(
    pool: Pool,
) -> None:
    tasmota = message("tele/plug/SENSOR", json.dumps({"ENERGY": {"Power": 3}}).encode())
    assert (await ingest(pool, tasmota)).ignored == 1
    device = await add_named(pool, "tasmota", "plug")
    assert (await ingest(pool, tasmota)).stored == 1
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", device)
    assert (await ingest(pool, tasmota)).ignored == 1


async def test_a_clock_that_is_years_off_is_rejected_with_the_reason(pool: Pool) -> None:
    device = await add_named(pool, "opendtu", SERIAL)
    at = datetime.now(UTC)
    await ingest(
        pool, opendtu("status/last_update", 73630, at), opendtu("0/yieldtotal", 5, at),
        close_request(("opendtu", SERIAL), at + timedelta(seconds=5)),
    )  # fmt: skip
    state = await state_of(pool, device)
    assert (state["received"], state["rejected"]) == (1, 1)
    rejection = await pool.fetchrow("SELECT * FROM rejections")
    assert (rejection["reason"], rejection["device_id"]) == ("too_old", device)
    assert rejection["time"] == datetime.fromtimestamp(73630, UTC)
    assert json.loads(rejection["payload"]) == {"energy_wh": 5000}


async def test_an_inverter_that_was_never_reached_has_no_reading(pool: Pool) -> None:
    device = await add_named(pool, "opendtu", SERIAL)
    at = datetime.now(UTC)
    await ingest(
        pool, opendtu("status/last_update", 0, at), opendtu("0/yieldtotal", 0, at),
        close_request(("opendtu", SERIAL), at + timedelta(seconds=5)),
    )  # fmt: skip
    assert (await state_of(pool, device))["received"] == 0


async def test_a_measurement_from_before_an_offline_status_does_not_bring_the_device_online(
    pool: Pool,
) -> None:
    device = await add_named(pool, "opendtu", SERIAL)
    at = datetime.now(UTC)
    await ingest(pool, *measurement(at, 1, 100))
    assert (await state_of(pool, device))["status"] == "online"
    await ingest(pool, opendtu("status/reachable", 0, at))
    await ingest(pool, close_request(("opendtu", SERIAL), at + timedelta(seconds=4)))
    assert len(await readings_of(pool, device)) == 1
    assert (await state_of(pool, device))["status"] == "offline"


async def test_a_reported_reset_counts_from_its_time(pool: Pool) -> None:
    device = await add_named(pool, "tasmota", "plug")
    at = SLOT_START + timedelta(minutes=1)

    def sensor(minutes: float, total: float, since: datetime) -> IngestMessage:
        payload = {
            "Time": (at + timedelta(minutes=minutes)).isoformat(),
            "ENERGY": {"Total": total, "TotalStartTime": since.isoformat()},
        }
        return message("tele/plug/SENSOR", json.dumps(payload).encode())

    long_ago, reset_at = at - timedelta(days=3), at + timedelta(minutes=2)
    # Above 90 % of the last value, so by its value alone it would be a dip.
    await ingest(pool, sensor(0, 0.100, long_ago))
    await ingest(pool, sensor(1, 0.150, long_ago), sensor(4, 0.145, reset_at))
    await ingest(pool, sensor(5, 0.155, reset_at))
    [interval] = await intervals_of(pool, device)
    assert interval["generated_wh"] == 50 + 145 + 10
    assert "reset" in interval["reasons"]
    state = await state_of(pool, device)
    assert state["received"] == state["stored"] == 4


async def test_a_message_on_a_device_topic_is_only_of_that_device(pool: Pool) -> None:
    mine = await add_named(pool, "grott", "NTCIA00001")
    other = await add_named(pool, "grott", "NTCIA00002")
    record = {"device": "NTCIA00002", "time": "2026-03-01T06:30:00", "values": {"pvpowerout": 1}}
    written = await ingest(pool, message("energy/growatt/NTCIA00001", json.dumps(record).encode()))
    assert (written.received, written.stored) == (1, 0)
    assert (await state_of(pool, mine))["rejected"] == 1
    assert (await state_of(pool, other))["received"] == 0


async def test_a_message_that_is_too_large_is_rejected(pool: Pool) -> None:
    device = await add_named(pool, "senml", "roof")
    written = await ingest(pool, message("senml/roof", b"[" + b" " * 100_000 + b"]"))
    assert [str(r.refused.reason) for r in written.rejections] == ["too_large"]
    assert (await state_of(pool, device))["rejected"] == 1
