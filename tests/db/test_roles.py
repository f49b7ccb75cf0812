"""Each process has the privileges that it needs and no others, with any sign-in."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from core.settings import DatabaseSettings
from db import roles, schema
from db.pool import Connection, open_connection
from solarhub import embedded
from solarhub.run_file import with_user
from tests.conftest import data_directory
from tests.support import databases, statements
from tests.support.hubs import run

ENTRIES = {
    roles.API: [("api.http.server", "run"), ("api.http.app", "create_app")],
    roles.INGEST: [("ingest.service", "run"), ("ingest.broker_auth", "DeviceAccessPlugin")],
    roles.RELAY: [("realtime.relay", "run")],
    roles.REALTIME: [("realtime.server", "run")],
}

_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c
 WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e')
"""

_GRANTED = """
SELECT relname, grantee::regrole::text, privilege_type, NULL AS column_name
  FROM pg_class, aclexplode(relacl)
 WHERE relnamespace = current_schema()::regnamespace AND grantee::regrole::text = ANY($1)
 UNION ALL
SELECT relname, grantee::regrole::text, privilege_type, attname
  FROM pg_class c JOIN pg_attribute ON attrelid = c.oid, aclexplode(attacl)
 WHERE relnamespace = current_schema()::regnamespace AND grantee::regrole::text = ANY($1)
"""

_PRIVILEGE = re.compile(r"([A-Z]+)(?: \(([^)]*)\))?")


async def test_every_table_has_an_entry_of_privileges(conn: Connection) -> None:
    tables = {row[0] for row in await conn.fetch(_TABLES)}
    unsaid = sorted(tables - set(roles.GRANTS))
    assert not unsaid, (
        f"no role may do anything with {', '.join(unsaid)}: add a row for it to GRANTS in"
        " db/roles.py, which names each role that needs the table and what it needs there"
    )
    gone = sorted(set(roles.GRANTS) - tables)
    assert not gone, f"GRANTS in db/roles.py has rows for what is no table: {', '.join(gone)}"


async def test_the_database_grants_exactly_these_privileges(conn: Connection) -> None:
    said = {
        (table, role, privilege, column.strip() or None)
        for table, grants in roles.GRANTS.items()
        for role, privileges in grants.items()
        for privilege, columns in _PRIVILEGE.findall(privileges)
        for column in columns.split(",")
    }
    assert {tuple(row) for row in await conn.fetch(_GRANTED, list(roles.ALL))} == said


@pytest.mark.parametrize("role", roles.ALL)
async def test_each_process_may_run_its_statements(database: DatabaseSettings, role: str) -> None:
    found = statements.reached_from(*ENTRIES[role])
    assert len(found) > 5
    refused = {}
    async with open_connection(database, application_name="test", role=role) as conn:
        for name, statement in found.items():
            try:
                await conn.execute(f"EXPLAIN (GENERIC_PLAN) {statements.numbered(statement)}")
            except asyncpg.InsufficientPrivilegeError as error:
                refused[name] = str(error)
    assert not refused, f"GRANTS in db/roles.py does not let {role} run {refused}"


REFUSED = [
    (roles.API, "UPDATE ledger_entries SET amount = 1"),
    (roles.API, "DELETE FROM ledger_transfers"),
    (roles.API, "TRUNCATE ledger_entries"),
    (roles.API, "UPDATE energy_transactions SET total_price = 1"),
    (roles.API, "DELETE FROM energy_transactions"),
    (roles.API, "UPDATE investments SET amount = 1"),
    (roles.API, "DELETE FROM revenue_shares"),
    (roles.API, "DELETE FROM payment_events"),
    (roles.API, "DELETE FROM ledger_digests"),
    (roles.API, "DELETE FROM users"),
    (roles.API, "UPDATE users SET role = 'admin'"),
    (roles.API, "UPDATE wallets SET user_id = gen_random_uuid()"),
    (roles.API, "INSERT INTO telemetry (device_id, time) VALUES (gen_random_uuid(), now())"),
    (roles.API, "UPDATE energy_interval SET surplus_wh = 1"),
    (roles.API, "SELECT data FROM outbox"),
    (roles.API, "UPDATE alembic_version SET version_num = '0'"),
    (roles.INGEST, "SELECT password_hash FROM users"),
    (roles.INGEST, "UPDATE users SET is_active = true"),
    (roles.INGEST, "UPDATE wallets SET balance = 1"),
    (roles.INGEST, "INSERT INTO ledger_transfers (kind, reference_id) VALUES ('topup', NULL)"),
    (roles.INGEST, "UPDATE energy_transactions SET energy_kwh = 1"),
    (roles.INGEST, "UPDATE telemetry SET energy_wh = 1"),
    (roles.INGEST, "UPDATE devices SET credential_hash = '\\x'"),
    (roles.INGEST, "INSERT INTO energy_transactions DEFAULT VALUES"),
    (roles.RELAY, "INSERT INTO outbox (type, channels, data) VALUES ('x', '{admin}', '{}')"),
    (roles.RELAY, "UPDATE ledger_digests SET hash = ''"),
    (roles.RELAY, "DELETE FROM ledger_digests"),
    (roles.RELAY, "INSERT INTO ledger_entries (transfer_id, account, amount) VALUES (NULL, '', 1)"),
    (roles.RELAY, "SELECT FROM users"),
    (roles.RELAY, "SELECT FROM wallets"),
    (roles.REALTIME, "SELECT password_hash FROM users"),
    (roles.REALTIME, "SELECT FROM wallets"),
    (roles.REALTIME, "SELECT FROM outbox"),
    (roles.REALTIME, "DELETE FROM flow_samples"),
    *(
        (role, statement)
        for role in roles.ALL
        for statement in (
            "CREATE TABLE mine (n int)",
            "DROP TABLE outbox",
            "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
            "CREATE OR REPLACE FUNCTION forbid_history_change() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'",
            "GRANT solarhub_api TO solarhub_relay",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('postgresql.conf')",
        )
    ),
]


@pytest.mark.parametrize(("role", "statement"), REFUSED)
async def test_a_process_has_no_privilege_that_it_does_not_need(
    database: DatabaseSettings, role: str, statement: str
) -> None:
    async with open_connection(database, application_name="test", role=role) as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)


async def test_a_migration_revokes_privileges_that_were_granted_by_hand(
    database: DatabaseSettings, conn: Connection
) -> None:
    await conn.execute("GRANT UPDATE ON ledger_entries TO solarhub_api")
    await schema.migrate(database)
    assert not await conn.fetchval(
        "SELECT has_table_privilege('solarhub_api', 'ledger_entries', 'UPDATE')"
    )


PASSWORDS = {role: f"{role} {'x' * 32}" for role in roles.ALL}


@contextmanager
def _asking_server() -> Iterator[str]:
    """A server without the hub's roles that requires passwords."""
    with data_directory() as directory:
        access = directory / "pg_hba.conf"
        access.write_text("local all solarhub trust\nlocal all all scram-sha-256\n")
        access.chmod(0o644)
        settings = {"hba_file": str(access)}
        with embedded.postgres(directory / "postgres", durable=False, settings=settings) as server:
            yield server.url


@pytest.fixture(scope="module")
def asking_server() -> Iterator[str]:
    with _asking_server() as url:
        yield url


@pytest.fixture
async def asking(asking_server: str) -> AsyncIterator[DatabaseSettings]:
    async with databases.clone(asking_server) as url:
        yield DatabaseSettings(database_url=url)


async def test_a_role_with_a_password_signs_in_and_can_set_no_other_role(
    asking: DatabaseSettings,
) -> None:
    await schema.migrate(asking, PASSWORDS)
    api = _signed_in(asking, roles.API, PASSWORDS[roles.API])
    async with open_connection(api, application_name="test", role=roles.API) as conn:
        assert await conn.fetchval("SELECT session_user") == roles.API
        assert await conn.fetchval("SELECT count(*) FROM users") == 0
        for other in ("solarhub", roles.INGEST):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(f"SET ROLE {other}")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await _open_once(_signed_in(asking, roles.API, "guessed"))


async def test_the_doctor_reports_the_process_of_a_url(asking: DatabaseSettings) -> None:
    await schema.migrate(asking, PASSWORDS)
    conn = await asyncpg.connect(asking.database_url)
    try:
        await conn.execute("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD 'x'")
        await conn.execute("GRANT SELECT ON alembic_version TO stranger")
    finally:
        await conn.close()
    for user, password, told in (
        (roles.RELAY, PASSWORDS[roles.RELAY], "ok   database   .*, for solarhub_relay\n"),
        ("stranger", "x", "BAD  database   .* act as none of solarhub_api, "),
    ):
        url = _signed_in(asking, user, password).database_url
        done = await asyncio.to_thread(run, "doctor", SOLARHUB_DATABASE_URL=url)
        assert re.search(told, done.stdout), done.stdout


async def test_a_changed_password_replaces_the_old_one(asking: DatabaseSettings) -> None:
    await schema.migrate(asking, PASSWORDS)
    await schema.migrate(asking, {roles.RELAY: "another"})
    await _open_once(_signed_in(asking, roles.RELAY, "another"))
    await _open_once(_signed_in(asking, roles.INGEST, PASSWORDS[roles.INGEST]))


@pytest.mark.slow
async def test_several_databases_of_one_server_may_create_the_roles_at_once() -> None:
    with _asking_server() as server_url:
        hubs = [databases.url_of(server_url, f"hub_{number}") for number in range(3)]
        for number in range(3):
            await databases.create(server_url, f"hub_{number}")
        migrated = await asyncio.gather(
            *(asyncio.to_thread(run, "migrate", SOLARHUB_DATABASE_URL=url) for url in hubs)
        )
        assert [done.returncode for done in migrated] == [0, 0, 0], migrated
        for url in hubs:
            hub = DatabaseSettings(database_url=url)
            async with open_connection(hub, application_name="test", role=roles.RELAY) as conn:
                assert await conn.fetchval("SELECT count(*) FROM outbox") == 0


async def test_an_owner_who_may_create_roles_need_not_be_a_superuser() -> None:
    with _asking_server() as server_url:
        conn = await asyncpg.connect(server_url)
        try:
            await conn.execute("CREATE ROLE keeper LOGIN PASSWORD 'keeper'")
            await conn.execute("CREATE DATABASE kept OWNER keeper")
            hub = DatabaseSettings(database_url=databases.url_of(server_url, "kept"))
            keeper = _signed_in(hub, "keeper", "keeper")
            with pytest.raises(roles.RolesRefused, match="give it CREATEROLE"):
                await schema.migrate(keeper)
            await conn.execute("ALTER ROLE keeper CREATEROLE")
        finally:
            await conn.close()
        await schema.migrate(keeper)
        async with open_connection(keeper, application_name="test", role=roles.API) as api:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.execute("DELETE FROM ledger_entries")


async def _open_once(settings: DatabaseSettings) -> None:
    async with open_connection(settings, application_name="test"):
        pass


def _signed_in(settings: DatabaseSettings, user: str, password: str) -> DatabaseSettings:
    own = with_user(settings.database_url, user, password)
    return settings.model_copy(update={"database_url": own})
