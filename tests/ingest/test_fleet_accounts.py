"""The accounts of a whole fleet at a real Mosquitto: filled in again, while others come.

A small fleet is tried with the other tests; a large one, with its figures, by
`SOLARHUB_TEST_FLEET=10000 pytest -s -n 0 tests/ingest/test_fleet_accounts.py`.
"""

import asyncio
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
from ingest.broker_accounts.dynamic_security import open_plugin
from tests.ingest.test_broker_account_sync import (
    SECRET,
    accounts,
    gets_in,
    hub,
    kept,
    received,
    register,
)
from tests.support import people
from tests.support.mosquitto import SecuredMosquitto
from tests.support.waiting import eventually

BATCH_MAX = 256
COME_LATER = 5


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
    if asked := os.environ.get("SOLARHUB_TEST_FLEET"):
        return int(asked)
    async with open_plugin(
        BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url)), "asks", 10
    ) as plugin:
        # Before 2.1 Mosquitto writes all accounts to its file for each that is made.
        return 2_000 if plugin.patterns else 400


def behind(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("solarhub_device_accounts_behind") or 0


async def comes(pool: Pool, mosquitto: SecuredMosquitto) -> float:
    """A device is registered and gets in. How long it was kept waiting, in seconds."""
    device = await register(pool)
    began = time.monotonic()
    await gets_in(mosquitto, device)
    return time.monotonic() - began


def told(waited_s: list[float]) -> str:
    return f"{median(waited_s):.2f} s, at most {max(waited_s):.2f} s"


async def test_a_fleet_is_filled_in_again_in_batches_and_who_is_registered_need_not_wait_for_it(
    pool: Pool, database: DatabaseSettings, secured: SecuredMosquitto
) -> None:
    asyncio.get_running_loop().set_debug(False)  # which would take most of the time
    fleet = await fleet_size(secured)
    await register_many(pool, fleet)
    async with hub(secured) as ears, kept(secured, database) as registry:
        for topic in ("$CONTROL/dynamic-security/v1/response", "solar/last/ack"):
            await ears.subscribe(topic, qos=1)
        changes = "solarhub_device_account_changes_total"
        await eventually(lambda: registry.get_sample_value(changes))
        began, meanwhile = time.monotonic(), [await comes(pool, secured)]
        assert behind(registry) > 0, "it waited for all who were there before"
        while behind(registry) > 0:
            meanwhile.append(await comes(pool, secured))
        print(f"\n{fleet:,} accounts in {time.monotonic() - began:.1f} s")
        later = [await comes(pool, secured) for _ in range(COME_LATER)]
        print(f"{len(meanwhile)} who came meanwhile waited {told(meanwhile)}")
        print(f"{len(later)} who came later waited {told(later)}")
        batches = [json.loads(m.payload)["responses"] for m in await received(ears)]
    assert len(await accounts(secured)) == fleet + len(meanwhile) + len(later)
    made = [[a for a in batch if a["command"] == "createClient"] for batch in batches]
    assert 1 < max(len(batch) for batch in made) <= BATCH_MAX
