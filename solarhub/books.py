"""What `solarhub audit` prints: one line per check, with the ids of what breaks it."""

import sys
from typing import TextIO

from core.settings import DatabaseSettings
from solarhub.audit import audit
from solarhub.errors import database_reached

_IDS_TOLD = 10


async def recompute(settings: DatabaseSettings, out: TextIO = sys.stdout) -> bool:
    """Print each check as it is done. Whether all hold."""
    sound = True
    with database_reached():
        async for check in audit(settings):
            sound = sound and check.ok
            verdict = "ok   " if check.ok else "FAILS"
            out.write(f"{verdict} {check.name}: {check.rule}{_told(check.offending)}\n")
            out.flush()
    return sound


def _told(ids: tuple[str, ...]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - _IDS_TOLD} more" if len(ids) > _IDS_TOLD else ""
    return f" — not so for {', '.join(ids[:_IDS_TOLD])}{more}"
