"""Accounts as the database keeps them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.accounting import AccountingState
from core.counters import Counter, SuspectLevel
from core.device_counters import Joint
from db import accounts
from db.migrations import versions
from db.pool import Connection
from tests.support.people import add_device, add_user

AT = datetime(2026, 3, 1, 6, 30, 0, 123456, tzinfo=UTC)
TICKS, TICK = 1772346600123456, timedelta(microseconds=1)

_AS_IT_WAS = """
ALTER TABLE telemetry DROP COLUMN parts, DROP COLUMN counts_since;
ALTER TABLE device_states ALTER COLUMN accountant TYPE jsonb USING accountant::jsonb;
ALTER TABLE accountant_checkpoints ALTER COLUMN accountant TYPE jsonb USING accountant::jsonb;
"""

_OF = "SELECT accountant FROM device_states WHERE device_id = $1"


async def test_an_account_is_what_it_was_when_it_is_read_again() -> None:
    counter = Counter(AT, 10**18, AT + TICK, SuspectLevel(5, AT, 2), earned_mwh=0, stalled_at=AT)
    joint = Joint({"energy_wh:a": 5}, {"energy_wh": AT + TICK})
    counters = {"energy_wh:a": counter, "export_wh": Counter(AT, 0, AT)}
    for account in (AccountingState(AT), AccountingState(AT, counters, 3120.5, joint)):
        assert accounts.from_json(accounts.to_json(account)) == account


async def test_an_account_of_before_keeps_its_instants_to_the_microsecond(conn: Connection) -> None:
    device = await add_device(conn, await add_user(conn, "host"))
    suspect = {"level_mwh": 5, "at": TICKS + 1, "readings": 2}
    energy = {"at": TICKS, "mark_mwh": 7, "marked_at": TICKS + 2, "suspect": suspect}
    before = {"last_at": TICKS, "energy": energy, "export": None, "power_w": 3120.5}
    await conn.execute(_AS_IT_WAS)
    await conn.execute("UPDATE device_states SET accountant = $1", before)
    for name in ("0017_accounts_as_text.sql", "0019_parts.sql"):
        migration = Path(versions.__path__[0]) / name
        await conn.execute(migration.read_text("utf-8"))
    counter = Counter(AT, 7, AT + 2 * TICK, SuspectLevel(5, AT + TICK, 2))
    assert accounts.from_json(await conn.fetchval(_OF, device)) == AccountingState(
        AT, {"energy_wh": counter}, power_w=3120.5
    )
