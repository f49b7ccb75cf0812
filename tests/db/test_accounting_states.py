"""Accounting states as the database stores them."""

from datetime import UTC, datetime, timedelta

from core.accounting import AccountingState
from core.counters import Counter, SuspectLevel
from core.device_counters import Joint
from db import accounting_states
from db.pool import Connection
from tests.support.people import add_device, add_user

AT = datetime(2026, 3, 1, 6, 30, 0, 123456, tzinfo=UTC)
TICK = timedelta(microseconds=1)

COUNTER = Counter(AT, 10**18, AT + TICK, SuspectLevel(5, AT, 2), earned_mwh=0, stalled_at=AT)
STATES = (
    AccountingState(AT),
    AccountingState(
        AT,
        {"energy_wh:a": COUNTER, "export_wh": Counter(AT, 0, AT)},
        3120.5,
        Joint({"energy_wh:a": 5}, {"energy_wh": AT + TICK}),
    ),
)


async def test_a_state_is_equal_after_it_was_written_and_read() -> None:
    for state in STATES:
        assert accounting_states.from_json(accounting_states.to_json(state)) == state


async def test_the_database_returns_a_state_to_the_microsecond(conn: Connection) -> None:
    device = await add_device(conn, await add_user(conn, "host"))
    for state in STATES:
        stored = await conn.fetchval(
            "UPDATE device_states SET accounting_state = $2 WHERE device_id = $1"
            " RETURNING accounting_state",
            device, accounting_states.to_json(state),
        )  # fmt: skip
        assert accounting_states.from_json(stored) == state
