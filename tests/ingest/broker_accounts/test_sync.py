"""Devices' accounts at a real Mosquitto, tested as devices and attackers experience them."""

import asyncio
import contextlib
from collections.abc import Sequence

import aiomqtt
import pytest
from structlog.testing import capture_logs

from core.settings import DatabaseSettings, MqttSettings
from db.pool import Pool
from ingest.broker import BrokerEndpoint
from ingest.broker_accounts.commands import Command
from ingest.broker_accounts.dynamic_security import (
    Answer,
    DynamicSecurityClient,
    connect_plugin,
)
from tests.ingest.broker_accounts.support import (
    account_names,
    can_connect,
    connected_device,
    delete,
    delivered_topics,
    device_client,
    hub_client,
    is_disconnected,
    is_refused,
    register,
    rotate,
    set_active,
    synchronizing,
)
from tests.support.mosquitto import Mosquitto, SecuredMosquitto
from tests.support.waiting import eventually


async def test_a_registered_device_can_connect_and_receives_rejection_notices(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    async with synchronizing(secured, database):
        before = await register(pool)
        await can_connect(secured, before)
        later = await register(pool)
        async with connected_device(secured, later) as device, hub_client(secured) as hub:
            await device.subscribe(f"solar/{later}/ack", qos=1)
            await hub.publish(f"solar/{later}/ack", "refused", qos=1)
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
    async with synchronizing(secured, database), connected_device(secured, me) as device:
        assert await delivered_topics(secured, device, others + own) == own
        assert not await is_refused(secured, other), "a device changed accounts through the plugin"


async def test_a_device_reads_its_own_topics_only(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    refused = [
        f"solar/{other}/ack", f"solar/{other}/telemetry", f"solar/{me}/telemetry", f"solar/{me}/#",
        "solar/+/ack", "solar/#", "+/+/ack", "#", "+", "$SYS/#", "$SYS/broker/uptime",
        "$share/g/#", f"$share/g/solar/{other}/ack", "$CONTROL/#", "%u", "solar/%u/ack",
    ]  # fmt: skip
    async with synchronizing(secured, database), connected_device(secured, me) as device:
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
    async with synchronizing(secured, database), connected_device(secured, me) as device:
        assert await delivered_topics(secured, device, others + own) == own
        for topic, code in (
            (f"solar/{me}/ack", 1),
            ("solar/114182940773/cmd/#", 1),
            ("solar/114182940774/cmd/#", 128),
            ("solar/+/cmd/#", 128),
        ):
            [answer] = await device.subscribe(topic, qos=1)
            assert int(getattr(answer, "value", answer)) == code, topic


async def test_a_last_will_in_another_devices_topic_is_never_published(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    will = aiomqtt.Will(f"solar/{other}/status", "offline", qos=1, retain=True)
    async with (
        synchronizing(secured, database),
        connected_device(secured, me),
        hub_client(secured) as subscriber,
    ):
        await subscriber.subscribe("solar/#", qos=1)
        with contextlib.suppress(aiomqtt.MqttError):  # Mosquitto 2.1 refuses such a CONNECT
            async with device_client(secured, me, will=will) as device:
                device._client._sock_close()
        # A second connection of the same client id ends the first, which publishes its will.
        async with connected_device(secured, me) as again:
            await again.publish(f"solar/{me}/status", "online", qos=1)
            async with asyncio.timeout(10):
                message = await anext(aiter(subscriber.messages))
        assert (message.topic.value, message.payload) == (f"solar/{me}/status", b"online")


async def test_a_device_cannot_end_the_session_of_another_or_of_the_hub(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    broker = BrokerEndpoint.of(MqttSettings(mqtt_url=secured.url))
    async with (
        synchronizing(secured, database),
        connected_device(secured, other) as victim,
        broker.connect("solarhub-ingest", clean_session=False) as ingester,
    ):
        await ingester.subscribe([("solar/+/telemetry", 1)])
        await can_connect(secured, me)
        for name in ("solarhub-ingest", str(other)):
            async with device_client(secured, me, identifier=name, clean_session=True):
                pass
        await victim.publish(f"solar/{other}/telemetry", "still connected", qos=1)
        async with asyncio.timeout(10):
            message = await anext(ingester.messages())
        assert message.payload == b"still connected"


async def test_a_rotated_password_is_invalid_at_once(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, other = await register(pool), await register(pool)
    async with synchronizing(secured, database):
        async with (
            connected_device(secured, me) as device,
            connected_device(secured, other) as bystander,
        ):
            await rotate(pool, me)
            await is_disconnected(device)
            await bystander.publish(f"solar/{other}/status", "online", qos=1)
        assert await is_refused(secured, me)
        await can_connect(secured, me, version=2)


async def test_a_deleted_device_is_disconnected(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me = await register(pool, "tasmota", "roof")
    async with synchronizing(secured, database):
        async with connected_device(secured, me) as device:
            await delete(pool, me)
            await is_disconnected(device)
        assert await is_refused(secured, me)
        assert await account_names(secured) == set()


async def test_devices_of_a_locked_host_are_disconnected_until_the_host_is_readmitted(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    roof, plug, other = await register(pool), await register(pool), await register(pool)
    await pool.execute(
        "UPDATE devices SET dialect = 'tasmota', external_id = 'plug', owner_id ="
        " (SELECT owner_id FROM devices WHERE id = $2) WHERE id = $1",
        plug, roof,
    )  # fmt: skip
    async with (
        synchronizing(secured, database),
        connected_device(secured, other) as bystander,
    ):
        async with (
            connected_device(secured, roof) as first,
            connected_device(secured, plug) as second,
        ):
            await set_active(pool, roof, False)
            await is_disconnected(first)
            await is_disconnected(second)
            await bystander.publish(f"solar/{other}/status", "online", qos=1)
        assert await is_refused(secured, roof)
        assert await is_refused(secured, plug)
        await set_active(pool, roof, True)
        await can_connect(secured, roof)
        await can_connect(secured, plug)


async def test_changes_during_an_outage_of_the_hub_are_synchronized_afterwards(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    stays, rotated, gone = [await register(pool) for _ in range(3)]
    async with synchronizing(secured, database):
        for device_id in (stays, rotated, gone):
            await can_connect(secured, device_id)
    await rotate(pool, rotated)
    await delete(pool, gone)
    new = await register(pool)
    async with synchronizing(secured, database):
        for device_id, version in ((new, 1), (rotated, 2), (stays, 1)):
            await can_connect(secured, device_id, version)
        assert await is_refused(secured, rotated)
        assert await is_refused(secured, gone)


async def test_accounts_are_created_again_after_mosquitto_lost_its_state(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    me, shelly = await register(pool), await register(pool, "shelly1", "shellyem-1")
    async with synchronizing(secured, database):
        await can_connect(secured, me)
        await can_connect(secured, shelly)
        secured.stop()
        secured.forget()
        secured.start()
        async with connected_device(secured, me), connected_device(secured, shelly) as device:
            own = ["shellies/shellyem-1/online"]
            assert await delivered_topics(secured, device, ["shellies/x/online", *own]) == own


async def test_accounts_that_the_hub_did_not_create_are_not_changed(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    async with connect_plugin(
        BrokerEndpoint.of(MqttSettings(mqtt_url=secured.url)), "operator", 10
    ) as plugin:
        await plugin.send([{"command": "createClient", "username": "grafana", "password": "x"}])
    async with synchronizing(secured, database):
        me = await register(pool)
        await can_connect(secured, me)
        await delete(pool, me)
        await eventually(lambda: is_refused(secured, me))
        assert await account_names(secured) == {"grafana"}


async def test_one_of_two_hubs_synchronizes_accounts_and_the_other_takes_over(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    async with synchronizing(secured, database, ingest_client_id="b"):
        async with synchronizing(secured, database, ingest_client_id="a"):
            await can_connect(secured, await register(pool))
        await can_connect(secured, await register(pool))


async def test_a_broker_without_dynamic_security_is_reported_in_the_log(
    database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    with capture_logs() as logs:
        async with synchronizing(mosquitto, database):
            await eventually(
                lambda: any("does not answer" in str(log) for log in logs), within_s=30
            )


async def test_a_device_that_the_broker_refuses_is_recorded_and_blocks_no_other(
    pool: Pool,
    database: DatabaseSettings,
    secured: SecuredMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison, send = await register(pool), DynamicSecurityClient.send
    poisoned = {str(poison)}

    async def misspelt(self: DynamicSecurityClient, commands: Sequence[Command]) -> list[Answer]:
        return await send(
            self,
            [c | {"command": "nonsense"} if c.get("username") in poisoned else c for c in commands],
        )

    monkeypatch.setattr(DynamicSecurityClient, "send", misspelt)
    good = [await register(pool) for _ in range(3)]
    async with synchronizing(secured, database):
        for device_id in good:
            await can_connect(secured, device_id)
        noted = await eventually(lambda: pool.fetchrow("SELECT * FROM failed_items"))
        assert (noted["queue"], noted["item"]) == ("broker_accounts", str(poison))
        # A changed device is tried again, and its record is deleted.
        poisoned.clear()
        await rotate(pool, poison)
        await can_connect(secured, poison, version=2)
        await eventually(lambda: _is_empty(pool, "failed_items"))


async def test_a_device_that_the_plugin_does_not_answer_for_blocks_no_other(
    pool: Pool,
    database: DatabaseSettings,
    secured: SecuredMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison, send = await register(pool), DynamicSecurityClient.send

    async def silent(self: DynamicSecurityClient, commands: Sequence[Command]) -> list[Answer]:
        if any(command.get("username") == str(poison) for command in commands):
            raise TimeoutError
        return await send(self, commands)

    monkeypatch.setattr(DynamicSecurityClient, "send", silent)
    good = [await register(pool) for _ in range(12)]
    async with synchronizing(secured, database):
        for device_id in good:
            await can_connect(secured, device_id)
        noted = await eventually(lambda: pool.fetchrow("SELECT * FROM failed_items"))
        assert (noted["queue"], noted["item"]) == ("broker_accounts", str(poison))


async def _is_empty(pool: Pool, table: str) -> bool:
    return not await pool.fetchval(f"SELECT EXISTS (SELECT FROM {table})")
