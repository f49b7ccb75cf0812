"""Devices of every dialect at a Mosquitto that knows them: each is heard, and only as itself."""

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiomqtt

from core.settings import DatabaseSettings
from core.units import rfc3339
from db.pool import Pool
from tests.api.conftest import JWT_SECRET, Api, serving
from tests.end_to_end.test_firmwares import (
    BEGAN_AT,
    HOME,
    Messages,
    ahoy,
    earns_before_registration,
    grott,
    holds_readings,
    offer,
    opendtu,
    register,
    senml,
    shelly1,
    shelly2,
    tasmota,
    victron,
)
from tests.ingest.broker_accounts.support import hub_client, received_messages
from tests.ingest.test_service import ingesting
from tests.support.mosquitto import SecuredMosquitto
from tests.support.people import Person, add_user
from tests.support.waiting import eventually

# What each firmware is called, says, and takes orders on; the last may be all of a filter.
FIRMWARES: dict[str, tuple[str, Callable[[datetime, float], Messages], tuple[str, ...]]] = {
    "opendtu": ("114182940773", opendtu, ("solar/{}/cmd/#",)),
    "shelly1": ("shellyem3-68C63AFAF952", shelly1, ("shellies/{}/command",
                                                    "shellies/{}/relay/+/command")),
    "shelly2": ("shelly1pmminig3-5432044edbc0", shelly2, ("{}/rpc", "{}/command")),
    "tasmota": ("tasmota_8BD1DC", tasmota, ("cmnd/{}/#",)),
    "senml": ("roof", senml, ()),
    "ahoy": ("HM-600", ahoy, ()),
    "victron": ("c0619aba2ebd", victron, ("R/{}/#",)),
    "grott": ("NTCIA00001", grott, ()),
}  # fmt: skip
NOBODYS = (
    "solar/ac/power", "solar/telemetry", "inverter/total/YieldTotal", "energy/growatt", "senml",
    "shellies/announce", "shellies/command", "tele/tasmotas/SENSOR", "homeassistant/sensor/config",
    "$SYS/broker/uptime", "$CONTROL/dynamic-security/v1",
)  # fmt: skip
EVERYBODYS = ("#", "+/#", "solar/#", "solar/+/ack", "R/#", "cmnd/#", "$SYS/#", "$share/g/#")


@dataclass(frozen=True, slots=True)
class Signed:
    """A registered device that is in; `orders`: where its firmware takes them."""

    registered: Any
    listing: Any
    client: aiomqtt.Client
    speak: Callable[[datetime, float], Messages]
    orders: tuple[str, ...]
    step_wh: int

    @property
    def id(self) -> str:
        return str(self.registered["id"])

    def topics(self) -> set[str]:
        return {topic for topic, _ in self.speak(BEGAN_AT, 600_000)}

    def concrete(self) -> Iterator[str]:
        """Topics of its own: what it says, what it is told, and where it takes orders."""
        yield from self.topics()
        yield from (f"solar/{self.id}/{level}" for level in ("telemetry", "status", "ack"))
        yield f"solar/{self.id}/command"
        for orders in self.orders:
            yield orders.replace("#", "keepalive").replace("+", "0")

    def may_publish(self, topic: str) -> bool:
        allowed = self.registered["mqtt"]["topics"]["publish"]
        return any(aiomqtt.Topic(topic).matches(filter_) for filter_ in allowed)


async def test_devices_of_every_dialect_are_heard_as_themselves_and_nobody_else(
    database: DatabaseSettings, pool: Pool, secured: SecuredMosquitto
) -> None:
    host = await add_user(pool, "host")
    async with (
        serving(database) as api,
        ingesting(secured.url, database, jwt_secret=JWT_SECRET),
        all_signed_in(api, pool, host, secured) as devices,
    ):
        await nobody_says_or_reads_what_is_anothers(secured, devices)
        for n in range(2):
            at = (BEGAN_AT + timedelta(minutes=3 * n)).replace(microsecond=0)
            for device in devices:
                for topic, payload in device.speak(at, 600_000 + n * device.step_wh):
                    await device.client.publish(topic, json.dumps(payload), qos=1)
            for device in devices:
                await holds_readings(pool, device.id, n + 1)
        for device in devices:
            listing = f"/api/v1/marketplace/listings/{device.listing['id']}"
            offered = (await api.get(listing, host))["energy_amount_kwh"]
            assert offered == f"{device.step_wh / 1000:.3f}", device.registered["dialect"]
        assert await pool.fetchval("SELECT count(*) FROM rejections") == 0


async def nobody_says_or_reads_what_is_anothers(
    mosquitto: SecuredMosquitto, devices: list[Signed]
) -> None:
    everywhere = {topic for device in devices for topic in device.concrete()} | set(NOBODYS)
    async with hub_client(mosquitto) as ears:
        await ears.subscribe("#", qos=1)
        for device in devices:
            for topic in sorted(everywhere):
                if not device.may_publish(topic):
                    await device.client.publish(topic, "stolen", qos=1)
        heard = {m.topic.value for m in await received_messages(ears) if m.payload == b"stolen"}
        assert heard == set()
    for device in devices:
        own = (f"solar/{device.id}/ack", *device.orders)
        others = {
            topic
            for other in devices
            if other is not device
            for topic in (*other.concrete(), *other.orders)
        }
        assert await granted(device.client, [*others, *EVERYBODYS, *NOBODYS]) == set()
        assert await granted(device.client, own) == set(own)


async def granted(client: aiomqtt.Client, topics: Collection[str]) -> set[str]:
    """Return the topics that the broker lets it subscribe to."""
    codes = await client.subscribe([(topic, 1) for topic in topics])
    answers = zip(topics, codes, strict=True)
    return {topic for topic, code in answers if int(getattr(code, "value", code)) != 128}


@asynccontextmanager
async def all_signed_in(
    api: Api, pool: Pool, host: Person, mosquitto: SecuredMosquitto
) -> AsyncIterator[list[Signed]]:
    """One device of each dialect, registered by the API and connected with what that answered."""
    async with AsyncExitStack() as stack:
        devices = [await signed_in(stack, api, pool, host, mosquitto, "native", None, None, ())]
        for dialect, (name, speak, orders) in FIRMWARES.items():
            own_orders = tuple(topic.format(name) for topic in orders)
            devices.append(
                await signed_in(stack, api, pool, host, mosquitto, dialect, name, speak, own_orders)
            )
        yield devices


async def signed_in(
    stack: AsyncExitStack,
    api: Api,
    pool: Pool,
    host: Person,
    mosquitto: SecuredMosquitto,
    dialect: str,
    name: str | None,
    speak: Callable[[datetime, float], Messages] | None,
    orders: tuple[str, ...],
) -> Signed:
    if name is None:
        body = {"name": "Roof", "kind": "inverter", "capacity_w": 5000, **HOME}
        registered = await api.post("/api/v1/devices", host, body)
    else:
        registered = await register(api, host, dialect, name)
    await earns_before_registration(api, pool, registered)
    listing = await offer(api, host, registered)
    mqtt = registered["mqtt"]

    async def enters() -> aiomqtt.Client | None:
        client = aiomqtt.Client(
            "127.0.0.1", mosquitto.port, username=mqtt["username"], password=mqtt["password"],
            timeout=10,
        )  # fmt: skip
        try:
            return await client.__aenter__()
        except aiomqtt.MqttError:
            return None

    client = await eventually(enters)
    assert client is not None
    stack.push_async_exit(client.__aexit__)
    # 100 Wh is the finest that a Growatt counts.
    step_wh = 100 if dialect == "grott" else 6
    return Signed(registered, listing, client, speak or native(registered), orders, step_wh)


def native(registered: Any) -> Callable[[datetime, float], Messages]:
    def speak(at: datetime, total_wh: float) -> Messages:
        topics = registered["mqtt"]["topics"]
        yield topics["status"], {"status": "online"}
        yield topics["telemetry"], {"time": rfc3339(at), "power_w": 300.5, "energy_wh": total_wh}

    return speak
