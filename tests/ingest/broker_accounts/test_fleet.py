"""The accounts of a whole fleet at a real Mosquitto, created while other devices register.

The suite uses a small fleet. To measure a large one:
`SOLARHUB_TEST_FLEET=10000 pytest -s -n 0 tests/ingest/broker_accounts/test_fleet.py`.
"""

import json
import os
import time
from statistics import median
from uuid import uuid4

from prometheus_client import CollectorRegistry

from core.device_passwords import hash_of, password_of
from core.settings import DatabaseSettings, MqttSettings
from db.pool import Pool
from ingest.broker import BrokerEndpoint
from ingest.broker_accounts.dynamic_security import connect_plugin
from tests.ingest.broker_accounts.support import (
    SECRET,
    account_names,
    can_connect,
    hub_client,
    received_messages,
    register,
    synchronizing,
)
from tests.support import people
from tests.support.mosquitto import SecuredMosquitto
from tests.support.waiting import eventually

BATCH_MAX = 256
LATER_DEVICES = 5


async def register_many(pool: Pool, count: int) -> None:
    owner = await people.add_user(pool, "host")
    ids = [uuid4() for _ in range(count)]
    hashes = [hash_of(password_of(SECRET, device_id, 1)) for device_id in ids]
    await pool.execute(
        "INSERT INTO devices (id, owner_id, name, kind, capacity_w, credential_hash)"
        " SELECT id, $1, 'Roof', 'inverter', 5000, hash"
        " FROM unnest($2::uuid[], $3::bytea[]) AS new (id, hash)",
        owner.id, ids, hashes,
    )  # fmt: skip


async def fleet_size(mosquitto: SecuredMosquitto) -> int:
    if size := os.environ.get("SOLARHUB_TEST_FLEET"):
        return int(size)
    async with connect_plugin(
        BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url)), "fleet-size", 10
    ) as plugin:
        # Before 2.1 Mosquitto writes all accounts to its file for each one that is created.
        return 2_000 if plugin.username_patterns else 400


def outdated_accounts(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("solarhub_device_accounts_behind") or 0


async def seconds_to_connect(pool: Pool, mosquitto: SecuredMosquitto) -> float:
    """Register a device, connect it, and return how long it waited for its account."""
    device = await register(pool)
    began = time.monotonic()
    await can_connect(mosquitto, device)
    return time.monotonic() - began


def summary(waited_s: list[float]) -> str:
    return f"{median(waited_s):.2f} s, at most {max(waited_s):.2f} s"


async def test_a_fleet_is_created_in_batches_and_a_new_device_does_not_wait_for_it(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    fleet = await fleet_size(secured)
    await register_many(pool, fleet)
    async with (
        hub_client(secured) as subscriber,
        synchronizing(secured, database) as registry,
    ):
        for topic in ("$CONTROL/dynamic-security/v1/response", "solar/last/ack"):
            await subscriber.subscribe(topic, qos=1)
        changes = "solarhub_device_account_changes_total"
        await eventually(lambda: registry.get_sample_value(changes))
        began, meanwhile = time.monotonic(), [await seconds_to_connect(pool, secured)]
        assert outdated_accounts(registry) > 0, "a new device waited for the whole fleet"
        while outdated_accounts(registry) > 0:
            meanwhile.append(await seconds_to_connect(pool, secured))
        print(f"\n{fleet:,} accounts in {time.monotonic() - began:.1f} s")
        later = [await seconds_to_connect(pool, secured) for _ in range(LATER_DEVICES)]
        print(f"{len(meanwhile)} devices registered meanwhile waited {summary(meanwhile)}")
        print(f"{len(later)} devices registered later waited {summary(later)}")
        messages = await received_messages(subscriber)
        batches = [json.loads(m.payload)["responses"] for m in messages]
    assert len(await account_names(secured)) == fleet + len(meanwhile) + len(later)
    created = [[a for a in batch if a["command"] == "createClient"] for batch in batches]
    assert 1 < max(len(batch) for batch in created) <= BATCH_MAX
