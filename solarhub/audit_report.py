"""What `solarhub audit` prints: one line per check, with the ids of what breaks it."""

import re
import sys
from typing import TextIO

from core.settings import DatabaseSettings
from solarhub.audit import audit
from solarhub.errors import CommandError, database_reached

_IDS_TOLD = 10


async def recompute(
    settings: DatabaseSettings, out: TextIO = sys.stdout, *, head: str | None = None
) -> bool:
    """Print each check as it is done. Whether all hold. `head`: one that was noted elsewhere."""
    noted_hash = _hash_of(head) if head is not None else None
    sound = True
    with database_reached():
        async for check in audit(settings, noted_hash):
            sound = sound and check.ok
            verdict = "ok   " if check.ok else "FAILS"
            out.write(f"{verdict} {check.name}: {check.rule}{_told(check.offending)}\n")
            out.flush()
    return sound


def _hash_of(head: str) -> bytes:
    """The hash of a head as it is logged or printed. Raises HubError."""
    digits = head.rpartition(":")[2]
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise CommandError("--head: must be 64 hexadecimal digits, or a number, a colon and those")
    return bytes.fromhex(digits)


def _told(ids: tuple[str, ...]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - _IDS_TOLD} more" if len(ids) > _IDS_TOLD else ""
    return f" — not so for {', '.join(ids[:_IDS_TOLD])}{more}"
