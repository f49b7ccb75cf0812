"""Notifications of devices whose access to the broker changes."""

from uuid import UUID, uuid4

from db.device_credentials import AccessChanges, access_of, changes
from db.pool import Connection, Pool
from tests.support.people import add_device, add_user
from tests.support.waiting import eventually


async def changed_by(
    changes: AccessChanges, pool: Pool, statement: str, *arguments: object
) -> set[UUID]:
    """Run a statement and return the devices of its notifications.

    A device that is added afterwards marks their end.
    """
    changes.take()
    await pool.execute(statement, *arguments)
    last = await add_device(pool, await add_user(pool, "host"))
    found: set[UUID] = set()

    def has_last() -> bool:
        found.update(changes.take() or ())
        return last in found

    await eventually(has_last)
    return found - {last}


async def test_a_change_names_the_devices_whose_access_it_changes(
    pool: Pool, conn: Connection
) -> None:
    host = await add_user(pool, "host")
    roof, shed = await add_device(pool, host), await add_device(pool, host)
    gone = await add_device(pool, host)
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", gone)
    async with changes(conn) as listening:
        renamed = "UPDATE devices SET name = 'Barn' WHERE id = $1"
        assert await changed_by(listening, pool, renamed, roof) == set()
        rotated = "UPDATE devices SET credential_hash = sha256('another') WHERE id = $1"
        assert await changed_by(listening, pool, rotated, roof) == {roof}
        for active in (False, True):
            set_active = "UPDATE users SET is_active = $2 WHERE id = $1"
            assert await changed_by(listening, pool, set_active, host.id, active) == {roof, shed}
            assert set(await access_of(pool, [roof, shed, gone])) == (
                {roof, shed} if active else set()
            )
            assert await changed_by(listening, pool, set_active, host.id, active) == set()


async def test_too_many_changes_are_reported_without_ids(pool: Pool, conn: Connection) -> None:
    host = await add_user(pool, "host")
    async with changes(conn) as listening:
        await pool.execute(
            "INSERT INTO devices (id, owner_id, name, kind, capacity_w, credential_hash)"
            " SELECT id, $1, 'Roof', 'inverter', 5000, 'x' FROM unnest($2::uuid[]) AS new (id)",
            host.id, [uuid4() for _ in range(1001)],
        )  # fmt: skip
        await listening.wait(10)
        # Notifications from before this statement arrive with its result.
        await conn.fetchval("SELECT 1")
        assert listening.take() is None
        assert listening.take() == set()
