"""Database roles, one per process, and the privileges of each on each table.

`solarhub migrate` creates the roles and grants exactly the privileges below, each time it runs. A
process sets its role on every connection, whichever user it signs in as. Roles exist once per
server, privileges per database.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

import asyncpg

from db.pool import Connection

API = "solarhub_api"
INGEST = "solarhub_ingest"
RELAY = "solarhub_relay"
REALTIME = "solarhub_realtime"
ALL = (API, INGEST, RELAY, REALTIME)

# An entry for every table and view; a role without an entry has no privilege there. FOR SHARE and
# FOR UPDATE need UPDATE. Tables of history have neither UPDATE nor DELETE. Foreign keys act as the
# owner, so their cascades need no grant.
GRANTS: Mapping[str, Mapping[str, str]] = {
    # Users
    "users": {
        API: "SELECT, INSERT, UPDATE (full_name, phone, password_hash, is_active)",
        INGEST: "SELECT (id, is_active)",
        REALTIME: "SELECT (id, is_active)",
    },
    "hosts": {API: "SELECT, INSERT, UPDATE"},
    "buyers": {API: "SELECT, INSERT, UPDATE"},
    "investors": {API: "SELECT, INSERT, UPDATE"},
    "refresh_tokens": {API: "SELECT, INSERT, UPDATE, DELETE"},
    "sign_in_codes": {API: "SELECT, DELETE"},
    "user_addresses": {API: "SELECT, INSERT, UPDATE, DELETE"},
    # Money
    "wallets": {API: "SELECT, INSERT, UPDATE (balance)"},
    "ledger_transfers": {API: "SELECT, INSERT", RELAY: "SELECT"},
    "ledger_entries": {API: "SELECT, INSERT", RELAY: "SELECT"},
    "ledger_digests": {API: "SELECT", RELAY: "SELECT, INSERT"},
    "payment_methods": {API: "SELECT, INSERT, UPDATE, DELETE"},
    "payment_orders": {API: "SELECT, INSERT, UPDATE", RELAY: "SELECT"},
    "payment_events": {API: "SELECT, INSERT"},
    "idempotency_keys": {API: "SELECT, INSERT, DELETE"},
    # Devices and readings
    "devices": {API: "SELECT, INSERT, UPDATE", INGEST: "SELECT", REALTIME: "SELECT"},
    "device_states": {
        API: "SELECT, INSERT, UPDATE",
        INGEST: "SELECT, UPDATE",
        RELAY: "SELECT",
        REALTIME: "SELECT",
    },
    "device_partials": {API: "SELECT, INSERT", INGEST: "SELECT, INSERT, UPDATE"},
    "meters": {API: "SELECT, INSERT, UPDATE"},
    "flags": {
        API: "SELECT, INSERT, UPDATE (state, confirmed_at, confirmed_by)",
        INGEST: "SELECT, INSERT, UPDATE (energy_wh, evidence, updated_at)",
    },
    "telemetry": {API: "SELECT", INGEST: "SELECT, INSERT, DELETE", REALTIME: "SELECT"},
    "telemetry_1h": {API: "SELECT"},
    "telemetry_1d": {API: "SELECT"},
    "energy_interval": {API: "SELECT, UPDATE (early_wh)", INGEST: "SELECT, INSERT, UPDATE, DELETE"},
    "accounting_checkpoints": {API: "SELECT", INGEST: "SELECT, INSERT, UPDATE, DELETE"},
    "checkpoint_thinning": {INGEST: "SELECT, UPDATE (thinned_until)"},
    "unaccounted_readings": {API: "SELECT", INGEST: "SELECT, INSERT, UPDATE, DELETE"},
    "rejections": {API: "SELECT", INGEST: "SELECT, INSERT, DELETE"},
    "rejections_dropped": {API: "SELECT", INGEST: "SELECT, INSERT, UPDATE"},
    "ingesters": {INGEST: "SELECT, INSERT, UPDATE, DELETE"},
    "ingest_sessions": {INGEST: "SELECT, INSERT, UPDATE, DELETE"},
    # Market
    "energy_listings": {API: "SELECT, INSERT, UPDATE", INGEST: "SELECT, UPDATE"},
    "energy_transactions": {API: "SELECT, INSERT", INGEST: "SELECT", RELAY: "SELECT"},
    "investments": {API: "SELECT, INSERT", RELAY: "SELECT"},
    "revenue_shares": {API: "SELECT, INSERT", RELAY: "SELECT"},
    "refused_demand": {API: "SELECT, INSERT, UPDATE", INGEST: "SELECT, DELETE"},
    "price_slots": {INGEST: "SELECT, INSERT, DELETE"},
    "neighbourhood_prices": {INGEST: "SELECT, INSERT"},
    # The feed and operations
    "outbox": {
        API: "INSERT",
        INGEST: "SELECT (id), INSERT",
        RELAY: "SELECT, UPDATE, DELETE",
    },
    "failed_items": {
        API: "SELECT, INSERT, UPDATE, DELETE",
        INGEST: "SELECT, INSERT, UPDATE, DELETE",
        RELAY: "SELECT, INSERT, UPDATE, DELETE",
    },
    "flow_samples": {API: "SELECT", RELAY: "SELECT, INSERT, DELETE", REALTIME: "SELECT"},
    "audit_results": {API: "SELECT, INSERT, DELETE"},
    "admin_actions": {API: "SELECT, INSERT"},
    "alembic_version": dict.fromkeys(ALL, "SELECT"),
}

# Roles belong to the server: the migration of another database may create them at the same time,
# and no lock of this database prevents that.
_CREATE = """
DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY string_to_array(current_setting('solarhub.roles'), ',') LOOP
        BEGIN
            IF to_regrole(v_role) IS NULL THEN
                EXECUTE format('CREATE ROLE %I', v_role);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        IF NOT pg_has_role(current_user, v_role, 'SET') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT FALSE, SET TRUE', v_role);
        END IF;
    END LOOP;
END $$
"""
_NAME_ROLES = "SELECT set_config('solarhub.roles', $1, true)"

# Including privileges that were granted by hand.
_REVOCATIONS = """
SELECT format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema(), role)
  FROM unnest($1::text[]) AS role
"""

_GRANTS = """
SELECT format('GRANT %s ON TABLE %I.%I TO %I', privileges, current_schema(), name, role)
  FROM unnest($1::text[], $2::text[], $3::text[]) AS granted (privileges, name, role)
"""

_SIGN_INS = """
SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', role, verifier)
  FROM unnest($1::text[], $2::text[]) AS sign_in (role, verifier)
"""

_AVAILABLE = """
SELECT rolname::text FROM pg_roles
 WHERE rolname = ANY($1::text[]) AND pg_has_role(current_user, oid, 'SET') ORDER BY rolname
"""

_SCRAM_ITERATIONS = 4096


class RolesRefused(Exception):
    """The database user may not create the roles of the processes."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the database user may not create the roles of the processes ({reason}): give it"
            f" CREATEROLE, or create {', '.join(ALL)} as a superuser and grant them to it"
        )


async def apply(conn: Connection, passwords: Mapping[str, str]) -> None:
    """Create the roles, grant their privileges, and let those with a password sign in.

    A role without a password keeps its sign-in; a new one can't sign in, and the migrating user may
    set it. Raises RolesRefused.
    """
    await conn.execute(_NAME_ROLES, ",".join(ALL))
    try:
        await conn.execute(_CREATE)
    except asyncpg.InsufficientPrivilegeError as error:
        raise RolesRefused(str(error)) from error
    granted = [
        (privileges, table, role)
        for table, grants in GRANTS.items()
        for role, privileges in grants.items()
    ]
    verifiers = [_verifier(password) for password in passwords.values()]
    statements = [
        *await conn.fetch(_REVOCATIONS, ALL),
        *await conn.fetch(_GRANTS, *zip(*granted, strict=True)),
        *await conn.fetch(_SIGN_INS, list(passwords), verifiers),
    ]
    for row in statements:
        await conn.execute(row[0])


async def available(conn: Connection) -> list[str]:
    """Return the roles that the signed-in user may set."""
    return [row[0] for row in await conn.fetch(_AVAILABLE, ALL)]


def _verifier(password: str) -> str:
    """Return the SCRAM verifier of a password (RFC 5803), since statements may be logged."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    texts = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_SCRAM_ITERATIONS, *texts)
