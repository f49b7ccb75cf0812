"""Devices' accounts at a real Mosquitto, as devices and thieves find them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from core.device_passwords import hash_of, password_of
from core.settings import DatabaseSettings, IngestSettings, MqttSettings
from db.pool import Pool
from ingest.broker import BrokerEndpoint
from ingest.broker_accounts.commands import Command
from ingest.broker_accounts.dynamic_security import Answer, Plugin, open_plugin
from ingest.broker_accounts.sync import BrokerAccountSync
from ingest.metrics import IngestMetrics
from tests.support import people
from tests.support.mosquitto import Mosquitto, SecuredMosquitto
from tests.support.waiting import eventually

SECRET = b"of the test, and as long as one has to be"


async def register(pool: Pool, dialect: str = "native", external_id: str | None = None) -> UUID:
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    await pool.execute(
        "UPDATE devices SET dialect = $2, external_id = $3, credential_hash = $4 WHERE id = $1",
        device_id, dialect, external_id, hash_of(password_of(SECRET, device_id, 1)),
    )  # fmt: skip
    return device_id


async def rotate(pool: Pool, device_id: UUID, version: int = 2) -> None:
    await pool.execute(
        "UPDATE devices SET credential_version = $2, credential_hash = $3 WHERE id = $1",
        device_id, version, hash_of(password_of(SECRET, device_id, version)),
    )  # fmt: skip


async def delete(pool: Pool, device_id: UUID) -> None:
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", device_id)


async def set_active(pool: Pool, device_id: UUID, active: bool) -> None:
    """Lock a device's host out, or let them in again."""
    await pool.execute(
        "UPDATE users SET is_active = $2"
        " WHERE id = (SELECT owner_id FROM devices WHERE devices.id = $1)",
        device_id, active,
    )  # fmt: skip


@asynccontextmanager
async def kept(
    mosquitto: Mosquitto, database: DatabaseSettings, **settings: object
) -> AsyncIterator[CollectorRegistry]:
    """While this lasts, somebody keeps the accounts."""
    registry = CollectorRegistry()
    keeper = BrokerAccountSync(
        IngestSettings(mqtt_url=mosquitto.url, **settings),
        database, SECRET, IngestMetrics(registry),
    )  # fmt: skip
    task = asyncio.create_task(keeper.run())
    try:
        yield registry
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def client(
    mosquitto: Mosquitto, device_id: UUID, version: int = 1, **options: object
) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1", mosquitto.port, username=str(device_id),
        password=password_of(SECRET, device_id, version), timeout=5, **options,
    )  # fmt: skip


def hub(mosquitto: Mosquitto) -> aiomqtt.Client:
    broker = BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url))
    return aiomqtt.Client(
        broker.host, broker.port, username=broker.username, password=broker.password,
        identifier=uuid4().hex, timeout=5,
    )  # fmt: skip


@asynccontextmanager
async def device_in(
    mosquitto: Mosquitto, device_id: UUID, version: int = 1
) -> AsyncIterator[aiomqtt.Client]:
    """A device that is in, as soon as the broker knows it."""

    async def enters() -> aiomqtt.Client | None:
        device = client(mosquitto, device_id, version)
        try:
            return await device.__aenter__()
        except aiomqtt.MqttError:
            return None

    device = await eventually(enters)
    assert device is not None
    try:
        yield device
    finally:
        with contextlib.suppress(aiomqtt.MqttError):
            await device.__aexit__(None, None, None)


async def gets_in(mosquitto: Mosquitto, device_id: UUID, version: int = 1) -> None:
    async with device_in(mosquitto, device_id, version):
        pass


async def is_refused(mosquitto: Mosquitto, device_id: UUID, version: int = 1) -> bool:
    try:
        async with client(mosquitto, device_id, version):
            return False
    except aiomqtt.MqttError as error:
        return "Not authorized" in str(error)


async def is_hung_up(device: aiomqtt.Client) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(aiomqtt.MqttError):
            async for _ in device.messages:
                pass


async def accounts(mosquitto: Mosquitto) -> set[str]:
    async with open_plugin(
        BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url)), uuid4().hex, 10
    ) as plugin:
        return set((await plugin.known()).marks) - {"hub"}


async def heard_by_the_hub(
    mosquitto: Mosquitto, device: aiomqtt.Client, topics: list[str]
) -> list[str]:
    """Which of the topics that a device publishes to arrive."""
    async with hub(mosquitto) as ears:
        await ears.subscribe("#", qos=1)
        for topic in topics:
            await device.publish(topic, "said", qos=1)
        return [m.topic.value for m in await received(ears) if m.payload == b"said"]


async def received(ears: aiomqtt.Client) -> list[aiomqtt.Message]:
    """All that arrived before this was called."""
    await ears.publish("solar/last/ack", qos=1)
    messages: list[aiomqtt.Message] = []
    async with asyncio.timeout(10):
        async for message in ears.messages:
            if message.topic.value == "solar/last/ack":
                return messages
            messages.append(message)
    raise AssertionError("the connection was lost")


async def test_a_registered_device_can_connect_and_is_told_what_was_refused(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    async with kept(secured, database):
        before = await register(pool)
        await gets_in(secured, before)
        later = await register(pool)
        async with device_in(secured, later) as device, hub(secured) as mouth:
            await device.subscribe(f"solar/{later}/ack", qos=1)
            await mouth.publish(f"solar/{later}/ack", "refused", qos=1)
            async with asyncio.timeout(10):
                message = await anext(aiter(device.messages))
            assert message.payload == b"refused"


async def test_a_device_publishes_as_itself_only(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    own = [f"solar/{me}/telemetry", f"solar/{me}/status"]
    others = [
        f"solar/{other}/telemetry", f"solar/{other}/status", f"solar/{me}/ack", f"solar/{me}",
        f"solar/{me}/telemetry/more", "solar/telemetry", "elsewhere", "shellies/me/relay/0/power",
        "$SYS/broker/uptime", "$SYS/broker/connection/me/state", "$CONTROL/dynamic-security/v1",
    ]  # fmt: skip
    async with kept(secured, database), device_in(secured, me) as device:
        assert await heard_by_the_hub(secured, device, others + own) == own
        assert not await is_refused(secured, other), "nobody managed accounts but the hub"


async def test_a_device_reads_its_own_topics_only(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    refused = [
        f"solar/{other}/ack", f"solar/{other}/telemetry", f"solar/{me}/telemetry", f"solar/{me}/#",
        "solar/+/ack", "solar/#", "+/+/ack", "#", "+", "$SYS/#", "$SYS/broker/uptime",
        "$share/g/#", f"$share/g/solar/{other}/ack", "$CONTROL/#", "%u", "solar/%u/ack",
    ]  # fmt: skip
    async with kept(secured, database), device_in(secured, me) as device:
        for topic in refused:
            answer = await device.subscribe(topic, qos=1)
            assert [int(getattr(code, "value", code)) for code in answer] == [128], topic
        for topic in (f"solar/{me}/ack", f"solar/{me}/command"):
            answer = await device.subscribe(topic, qos=1)
            assert [int(getattr(code, "value", code)) for code in answer] == [1], topic


async def test_a_device_of_a_firmware_has_the_topics_of_its_name(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me = await register(pool, "opendtu", "114182940773")
    await register(pool, "opendtu", "114182940774")
    own = ["solar/114182940773/0/power", "solar/114182940773/status/reachable"]
    others = ["solar/114182940774/0/power", f"solar/{me}/telemetry", "solar/ac/power"]
    async with kept(secured, database), device_in(secured, me) as device:
        assert await heard_by_the_hub(secured, device, others + own) == own
        for topic, code in (
            (f"solar/{me}/ack", 1),
            ("solar/114182940773/cmd/#", 1),
            ("solar/114182940774/cmd/#", 128),
            ("solar/+/cmd/#", 128),
        ):
            [answer] = await device.subscribe(topic, qos=1)
            assert int(getattr(answer, "value", answer)) == code, topic


async def test_a_last_will_in_another_name_is_never_sent(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    will = aiomqtt.Will(f"solar/{other}/status", "offline", qos=1, retain=True)
    async with kept(secured, database), device_in(secured, me), hub(secured) as ears:
        await ears.subscribe("solar/#", qos=1)
        with contextlib.suppress(aiomqtt.MqttError):  # 2.1 refuses it at once
            async with client(secured, me, will=will) as device:
                device._client._sock_close()
        # Whoever comes under the same name ends the connection before, and so has its will sent.
        async with device_in(secured, me) as again:
            await again.publish(f"solar/{me}/status", "online", qos=1)
            async with asyncio.timeout(10):
                message = await anext(aiter(ears.messages))
        assert (message.topic.value, message.payload) == (f"solar/{me}/status", b"online")


async def test_a_device_cannot_end_the_session_of_another_or_of_the_hub(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    broker = BrokerEndpoint.of(MqttSettings(mqtt_url=secured.url))
    async with (
        kept(secured, database),
        device_in(secured, other) as victim,
        broker.connect("solarhub-ingest", clean_session=False) as ingester,
    ):
        await ingester.subscribe([("solar/+/telemetry", 1)])
        await gets_in(secured, me)
        for name in ("solarhub-ingest", str(other)):
            async with client(secured, me, identifier=name, clean_session=True):
                pass
        await victim.publish(f"solar/{other}/telemetry", "still there", qos=1)
        async with asyncio.timeout(10):
            message = await anext(ingester.messages())
        assert message.payload == b"still there"


async def test_a_rotated_password_stops_at_once(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    async with kept(secured, database):
        async with device_in(secured, me) as device, device_in(secured, other) as bystander:
            await rotate(pool, me)
            await is_hung_up(device)
            await bystander.publish(f"solar/{other}/status", "online", qos=1)
        assert await is_refused(secured, me)
        await gets_in(secured, me, version=2)


async def test_a_deleted_device_is_cut_off(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me = await register(pool, "tasmota", "roof")
    async with kept(secured, database):
        async with device_in(secured, me) as device:
            await delete(pool, me)
            await is_hung_up(device)
        assert await is_refused(secured, me)
        assert await accounts(secured) == set()


async def test_devices_of_a_host_who_is_locked_out_are_cut_off_until_the_host_is_back(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    roof, plug, other = await register(pool), await register(pool), await register(pool)
    await pool.execute(
        "UPDATE devices SET dialect = 'tasmota', external_id = 'plug', owner_id ="
        " (SELECT owner_id FROM devices WHERE id = $2) WHERE id = $1",
        plug, roof,
    )  # fmt: skip
    async with (
        kept(secured, database),
        device_in(secured, other) as bystander,
    ):
        async with device_in(secured, roof) as first, device_in(secured, plug) as second:
            await set_active(pool, roof, False)
            await is_hung_up(first)
            await is_hung_up(second)
            await bystander.publish(f"solar/{other}/status", "online", qos=1)
        assert await is_refused(secured, roof)
        assert await is_refused(secured, plug)
        await set_active(pool, roof, True)
        await gets_in(secured, roof)
        await gets_in(secured, plug)


async def test_what_changed_while_the_hub_was_down_is_made_up_for(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    stays, rotated, gone = [await register(pool) for _ in range(3)]
    async with kept(secured, database):
        for device_id in (stays, rotated, gone):
            await gets_in(secured, device_id)
    await rotate(pool, rotated)
    await delete(pool, gone)
    new = await register(pool)
    async with kept(secured, database):
        for device_id, version in ((new, 1), (rotated, 2), (stays, 1)):
            await gets_in(secured, device_id, version)
        assert await is_refused(secured, rotated)
        assert await is_refused(secured, gone)


async def test_a_mosquitto_that_lost_its_state_is_filled_again(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, shelly = await register(pool), await register(pool, "shelly1", "shellyem-1")
    async with kept(secured, database):
        await gets_in(secured, me)
        await gets_in(secured, shelly)
        secured.stop()
        secured.forget()
        secured.start()
        async with device_in(secured, me), device_in(secured, shelly) as device:
            own = ["shellies/shellyem-1/online"]
            assert await heard_by_the_hub(secured, device, ["shellies/x/online", *own]) == own


async def test_accounts_of_others_are_left_alone(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    async with open_plugin(
        BrokerEndpoint.of(MqttSettings(mqtt_url=secured.url)), "operator", 10
    ) as plugin:
        await plugin.ask([{"command": "createClient", "username": "grafana", "password": "x"}])
    async with kept(secured, database):
        me = await register(pool)
        await gets_in(secured, me)
        await delete(pool, me)
        await eventually(lambda: is_refused(secured, me))
        assert await accounts(secured) == {"grafana"}


async def test_of_two_hubs_one_keeps_accounts_and_the_other_takes_over(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    async with kept(secured, database, ingest_client_id="b"):
        async with kept(secured, database, ingest_client_id="a"):
            await gets_in(secured, await register(pool))
        await gets_in(secured, await register(pool))


async def test_it_says_that_a_broker_has_no_dynamic_security(
    database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    with capture_logs() as logs:
        async with kept(mosquitto, database):
            await eventually(
                lambda: any("does not answer" in str(log) for log in logs), within_s=30
            )


async def test_a_device_that_the_broker_refuses_keeps_no_other_out_and_is_shown(
    pool: Pool,
    database: DatabaseSettings,
    secured: SecuredMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison, ask = await register(pool), Plugin.ask
    poisoned = {str(poison)}

    async def misspelt(self: Plugin, commands: Sequence[Command]) -> list[Answer]:
        return await ask(
            self,
            [c | {"command": "nonsense"} if c.get("username") in poisoned else c for c in commands],
        )

    monkeypatch.setattr(Plugin, "ask", misspelt)
    good = [await register(pool) for _ in range(3)]
    async with kept(secured, database):
        for device_id in good:
            await gets_in(secured, device_id)
        noted = await eventually(lambda: pool.fetchrow("SELECT * FROM failed_items"))
        assert (noted["queue"], noted["item"]) == ("broker_accounts", str(poison))
        # When it changes it has another chance, and then there is nothing to be seen any more.
        poisoned.clear()
        await rotate(pool, poison)
        await gets_in(secured, poison, version=2)
        await eventually(lambda: _is_empty(pool, "failed_items"))


async def test_a_device_that_the_plugin_is_silent_about_keeps_no_other_out(
    pool: Pool,
    database: DatabaseSettings,
    secured: SecuredMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison, ask = await register(pool), Plugin.ask

    async def silent(self: Plugin, commands: Sequence[Command]) -> list[Answer]:
        if any(command.get("username") == str(poison) for command in commands):
            raise TimeoutError
        return await ask(self, commands)

    monkeypatch.setattr(Plugin, "ask", silent)
    good = [await register(pool) for _ in range(12)]
    async with kept(secured, database):
        for device_id in good:
            await gets_in(secured, device_id)
        noted = await eventually(lambda: pool.fetchrow("SELECT * FROM failed_items"))
        assert (noted["queue"], noted["item"]) == ("broker_accounts", str(poison))


async def _is_empty(pool: Pool, table: str) -> bool:
    return not await pool.fetchval(f"SELECT EXISTS (SELECT FROM {table})")
