"""The `audit` command: recompute money and energy, one check after the other."""

import re
import sys
from collections.abc import AsyncIterator
from typing import TextIO

from core.settings import DatabaseSettings
from db import audit as database_audit
from db.audit_results import Check
from db.pool import open_connection
from solarhub.errors import CommandError, database_reached

_IDS_SHOWN_MAX = 10


async def print_audit(
    settings: DatabaseSettings, out: TextIO = sys.stdout, *, head: str | None = None
) -> bool:
    """Print one line per check as it completes. Return whether all checks hold.

    `head` is a head of the ledger's digests that was noted elsewhere. Raises CommandError.
    """
    noted_hash = _hash_of(head) if head is not None else None
    passed = True
    with database_reached():
        async for check in audit(settings, noted_hash):
            passed = passed and check.ok
            verdict = "ok   " if check.ok else "FAILS"
            out.write(f"{verdict} {check.name}: {check.rule}{_violations(check.offending)}\n")
            out.flush()
    return passed


async def audit(
    settings: DatabaseSettings, noted_hash: bytes | None = None
) -> AsyncIterator[Check]:
    """Yield each check as it completes. Reads only; the time grows with the number of readings.

    `noted_hash` is the hash of a ledger head that was noted elsewhere.
    """
    async with open_connection(settings, application_name="audit") as conn:
        async for check in database_audit.audit(conn, settings, noted_hash=noted_hash):
            yield check


def _hash_of(head: str) -> bytes:
    """Return the hash of a head as it is logged or printed. Raises CommandError."""
    digits = head.rpartition(":")[2]
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise CommandError(
            "--head: must be 64 hexadecimal digits, or a sequence number, a colon and those digits"
        )
    return bytes.fromhex(digits)


def _violations(ids: tuple[str, ...]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - _IDS_SHOWN_MAX} more" if len(ids) > _IDS_SHOWN_MAX else ""
    return f" — violated by {', '.join(ids[:_IDS_SHOWN_MAX])}{more}"
