"""Fleets, replays and buyers, against the whole hub."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest

from core.readings import Reading
from core.settings import DatabaseSettings
from db.pool import Connection, open_connection
from simulators import buyers, fleet, private_json, replay
from simulators.hub_client import (
    BrokerAddress,
    HubAddresses,
    HubClient,
    HubClientError,
    HubRefusal,
    HubSession,
    HubUnreachable,
    UserAccount,
    invent_account,
    open_hub,
)
from simulators.recording import Layout, read
from solarhub.simulate_common import with_administrator
from tests.conftest import data_directory
from tests.support import hubs
from tests.support.waiting import eventually

DATA = Path(__file__).parents[3] / "shared/data"
HOMES = DATA / "homes/homes_pv_load.csv.gz"
HOMES_LAYOUT = Layout(
    device="home_id",
    time="local_start",
    time_zone="tz",
    generated="pv_wh",
    consumed="load_wh",
    interval_min="interval_min",
)


@pytest.fixture(scope="module")
def hub() -> Iterator[hubs.Hub]:
    with (
        data_directory() as data,
        hubs.hub(data, SOLARHUB_RATE_LIMIT_LOGIN="off") as running,
    ):
        running.wait_ready()
        yield running
        running.end()


@pytest.fixture
def run_file(hub: hubs.Hub) -> dict[str, str]:
    document: dict[str, str] = json.loads((hub.data / "run.json").read_text())
    return document


@pytest.fixture
async def addresses(hub: hubs.Hub, run_file: dict[str, str]) -> HubAddresses:
    """The hub's addresses, with its administrator."""
    broker = BrokerAddress.of(run_file["mqtt_url"])
    found = HubAddresses(run_file["api_url"], broker, run_file["realtime_url"])
    return await with_administrator(hub.data, found)


@pytest.fixture
async def db(run_file: dict[str, str]) -> AsyncIterator[Connection]:
    settings = DatabaseSettings(database_url=run_file["database_url"])
    async with open_connection(settings, application_name="test") as connection:
        yield connection


@pytest.fixture
async def client(addresses: HubAddresses) -> AsyncIterator[HubClient]:
    async with open_hub(addresses.api_url) as client:
        yield client


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_refusal_carries_its_code_and_a_session_renews_its_token(
    client: HubClient,
) -> None:
    nobody = UserAccount("nobody@example.com", "no such password", "Nobody", "buyer")
    with pytest.raises(HubRefusal) as refused:
        await HubSession.sign_in(client, nobody)
    assert (refused.value.status, refused.value.code) == (401, "bad_credentials")
    session = await HubSession.register(client, invent_account("Asha", "buyer"))
    before = await session.token()
    session._renew_at = 0
    renewed = [await session.token(), *await asyncio.gather(session.token(), session.token())]
    assert len(set(renewed)) == 1
    assert renewed[0] != before or (await session.get("auth/me"))["id"] == session.user_id
    assert (await session.get("auth/me"))["full_name"] == "Asha"


async def test_an_unreachable_hub_is_named() -> None:
    async with open_hub("http://127.0.0.1:9") as client:
        with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9"):
            await client.call("POST", "auth/login", json={})


class StoredFleet:
    """The hub's records of the devices in a fleet's file."""

    def __init__(self, db: Connection, path: Path) -> None:
        self._db = db
        self._path = path

    @property
    def ids(self) -> list[str]:
        homes = private_json.read(self._path)["homes"].values()
        return [home["credentials"]["device_id"] for home in homes]

    async def all_have_status(self, status: str) -> bool:
        query = "SELECT array_agg(status) FROM device_states WHERE device_id = ANY($1::uuid[])"
        assert set(await self._db.fetchval(query, self.ids)) == {status}
        return True

    async def listings_reach(self, kwh: str) -> bool:
        query = (
            "SELECT sum(energy_amount_kwh) FROM energy_listings WHERE device_id = ANY($1::uuid[])"
        )
        assert await self._db.fetchval(query, self.ids) >= Decimal(kwh)
        return True

    async def imperfect_intervals(self) -> list[Any]:
        return list(
            await self._db.fetch(
                "SELECT quality, reasons FROM energy_interval"
                " WHERE device_id = ANY($1::uuid[]) AND (reasons <> '{}' OR quality <> 'measured')",
                self.ids,
            )
        )


async def test_a_fleet_sells_its_surplus_and_continues_in_the_next_run(
    addresses: HubAddresses, db: Connection, tmp_path: Path
) -> None:
    plan = fleet.FleetPlan(count=6, rate_hz=4, sun_hour=12, seed=11)
    path = tmp_path / "fleet.json"
    stored = StoredFleet(db, path)
    for least_kwh in ("0.005", "0.010"):
        tally = fleet.FleetTally()
        async with running(fleet.run(plan, addresses, path, tally)):
            await eventually(path.exists, within_s=30)
            await eventually(partial(stored.all_have_status, "online"), within_s=30)
            await eventually(partial(stored.listings_reach, least_kwh), within_s=30)
        assert (tally.registered, tally.connections.connected) == (6, 0)
        await eventually(partial(stored.all_have_status, "offline"))
    assert len(set(stored.ids)) == 6
    assert not await stored.imperfect_intervals(), "meters continued from their stored values"


async def test_a_fleet_ends_after_its_duration(addresses: HubAddresses, tmp_path: Path) -> None:
    plan = fleet.FleetPlan(count=1, rate_hz=10, duration_s=1, sun_hour=12, seed=12)
    tally = fleet.FleetTally()
    async with asyncio.timeout(30):
        await fleet.run(plan, addresses, tmp_path / "fleet.json", tally)
    assert tally.readings > 0


async def test_buyers_buy_surplus_and_receive_its_events_on_the_feed(
    hub: hubs.Hub, addresses: HubAddresses, tmp_path: Path
) -> None:
    homes = fleet.FleetPlan(count=24, rate_hz=2, sun_hour=12, seed=13)
    people = buyers.BuyersPlan(count=3, rate_hz=10, radius_km=50, seed=13)
    sent, bought = fleet.FleetTally(), buyers.BuyersTally()
    async with running(fleet.run(homes, addresses, tmp_path / "fleet.json", sent)) as selling:
        shopping = buyers.run(people, addresses, tmp_path / "buyers.json", bought)
        async with running(shopping) as buying:
            await eventually(lambda: len(bought.latencies_s) >= 5, within_s=60)
            assert not selling.done()
            assert not buying.done()
    assert bought.signed_in == 3
    assert bought.purchases >= 5
    assert bought.energy_kwh > 0
    assert bought.events > 0
    audit = await asyncio.to_thread(hubs.run, "audit", "--data", str(hub.data))
    assert audit.returncode == 0, audit.stdout + audit.stderr


async def test_buyers_sign_in_again_in_the_next_run(
    addresses: HubAddresses, tmp_path: Path
) -> None:
    path = tmp_path / "buyers.json"
    for count in (1, 2):
        plan = buyers.BuyersPlan(count=count, rate_hz=1, duration_s=0.5)
        await buyers.run(plan, addresses, path, tally := buyers.BuyersTally())
        assert tally.signed_in == count
    assert len(private_json.read(path)) == 2


async def accounted(db: Connection, device_id: str) -> dict[str, Any]:
    row = await db.fetchrow(
        """
        SELECT sum(generated_wh) AS generated_wh, sum(surplus_wh) AS surplus_wh,
               (SELECT count(*) FROM telemetry WHERE device_id = $1::uuid) AS readings
        FROM energy_interval WHERE device_id = $1::uuid
        """,
        device_id,
    )
    assert row is not None
    return dict(row)


def recorded(directory: Path, energy_unit: str = "kWh") -> dict[str, list[Reading]]:
    """Record two devices whose counters rise by 3.45 in four hours."""
    recording = directory / "recording.csv"
    rows = [f"{device},2020-05-15 {h:02}:{m:02},{device}{h}.{m}\n"
            for device in (1, 2) for h in range(10, 14) for m in (0, 15, 30, 45)]  # fmt: skip
    recording.write_text("d,t,e\n" + "".join(rows + rows[:3]))
    layout = Layout(device="d", time="t", zone="Asia/Kolkata", energy="e", energy_unit=energy_unit)
    return read(recording, layout).series


async def test_without_an_administrator_past_energy_is_recorded_and_not_for_sale(
    addresses: HubAddresses, db: Connection, tmp_path: Path
) -> None:
    plan, now, path = replay.ReplayPlan(speed=inf), datetime.now(UTC), tmp_path / "replay.json"
    without_administrator = dataclasses.replace(addresses, administrator=None)
    large = replay.with_times(plan, recorded(tmp_path, "MWh"), now)
    with pytest.raises(HubClientError, match=r"20,000 W sells only.*SOLARHUB_ADMIN_EMAIL"):
        await replay.run(plan, large, without_administrator, path, replay.ReplayTally(), now=now)
    series = replay.with_times(plan, recorded(tmp_path), now)
    await replay.run(plan, series, without_administrator, path, replay.ReplayTally(), now=now)
    for device in private_json.read(path)["devices"].values():

        async def matches(device: dict[str, Any] = device) -> bool:
            found = await accounted(db, device["device_id"])
            assert (found["generated_wh"], found["readings"]) == (3450.0, 16)
            return True

        await eventually(matches)
        offered = await db.fetchval(
            "SELECT energy_amount_kwh FROM energy_listings WHERE id = $1::uuid",
            device["listing_id"],
        )
        assert offered == 0


async def test_intervals_of_a_recording_add_up_to_its_counters(
    addresses: HubAddresses, db: Connection, tmp_path: Path
) -> None:
    series = recorded(tmp_path)
    plan, now = replay.ReplayPlan(speed=1e6, batch=5), datetime.now(UTC)
    tally = replay.ReplayTally()
    await replay.run(
        plan,
        replay.with_times(plan, series, now),
        addresses,
        tmp_path / "replay.json",
        tally,
        now=now,
    )
    outcome = private_json.read(tmp_path / "replay.json")
    assert (tally.devices, tally.readings, outcome["readings_sent"]) == (2, 35, 35)
    for name in ("1", "2"):
        device = outcome["devices"][name]
        rise_wh = device["last"]["energy_wh"] - device["first"]["energy_wh"]
        assert rise_wh == 3450.0
        assert device["distinct_times"] == 16

        async def matches(device: dict[str, Any] = device, rise_wh: float = rise_wh) -> bool:
            found = await accounted(db, device["device_id"])
            assert found == {"generated_wh": rise_wh, "surplus_wh": rise_wh, "readings": 16}
            return True

        await eventually(matches)


@pytest.mark.skipif(not HOMES.exists(), reason="the recordings are not available")
async def test_homes_of_two_continents_sell_their_surplus_as_neighbours(
    addresses: HubAddresses, db: Connection, tmp_path: Path
) -> None:
    def is_selected(shown: datetime) -> bool:
        return (shown.month, shown.day) == (2, 1)

    series = read(HOMES, HOMES_LAYOUT, is_selected).series
    assert len(series) == 14
    plan, now = replay.ReplayPlan(speed=inf, batch=100, align=True), datetime.now(UTC)
    path = tmp_path / "replay.json"
    series = replay.with_times(plan, series, now)
    await replay.run(plan, series, addresses, path, replay.ReplayTally(), now=now)
    for device in private_json.read(path)["devices"].values():

        async def matches(device: dict[str, Any] = device) -> bool:
            found = await accounted(db, device["device_id"])
            assert found["readings"] == device["distinct_times"]
            for kind, counter in (("generated_wh", "energy_wh"), ("surplus_wh", "export_wh")):
                assert float(found[kind]) == pytest.approx(device["last"][counter], abs=0.5)
            listed_kwh = await db.fetchval(
                "SELECT energy_amount_kwh FROM energy_listings WHERE id = $1::uuid",
                device["listing_id"],
            )
            assert float(listed_kwh) == pytest.approx(float(found["surplus_wh"]) / 1000, abs=0.001)
            return True

        await eventually(matches, within_s=30)
