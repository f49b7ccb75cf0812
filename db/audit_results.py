"""What the last audits found, for those who did not wait for them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from db.checks import Check
from db.pool import Connection

OFFENDING_KEPT = 100

_SAVE = "INSERT INTO audit_results (ok, checks) VALUES ($1, $2)"

_FORGET_OLD = """
DELETE FROM audit_results
 WHERE finished_at < (SELECT finished_at FROM audit_results ORDER BY finished_at DESC
                      OFFSET 99 LIMIT 1)
"""

_LAST = """
SELECT finished_at, ok, checks FROM audit_results ORDER BY finished_at DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """What came of one check; `offending` holds the first ids of what breaks the rule."""

    name: str
    rule: str
    ok: bool
    offending: list[str]
    offending_count: int

    @classmethod
    def of(cls, check: Check) -> "AuditFinding":
        kept = list(check.offending[:OFFENDING_KEPT])
        return cls(check.name, check.rule, check.ok, kept, len(check.offending))


@dataclass(frozen=True, slots=True)
class AuditResult:
    finished_at: datetime
    ok: bool
    checks: tuple[AuditFinding, ...]


async def save(conn: Connection, findings: Sequence[AuditFinding]) -> None:
    """Keep what an audit found, and no more than a hundred of them."""
    await conn.execute(_SAVE, all(f.ok for f in findings), [asdict(f) for f in findings])
    await conn.execute(_FORGET_OLD)


async def last(conn: Connection) -> AuditResult | None:
    row = await conn.fetchrow(_LAST)
    if row is None:
        return None
    findings = tuple(AuditFinding(**saved) for saved in row["checks"])
    return AuditResult(row["finished_at"], row["ok"], findings)
