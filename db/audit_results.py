"""Results of audits: of each check, and as stored for later display."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from db.pool import Connection

# A broken rule may have any number of offending rows: only so many ids are stored.
OFFENDING_KEPT = 100

_SAVE = "INSERT INTO audit_results (ok, checks) VALUES ($1, $2)"

_DELETE_OLD = """
DELETE FROM audit_results
 WHERE finished_at < (SELECT finished_at FROM audit_results ORDER BY finished_at DESC
                      OFFSET 99 LIMIT 1)
"""

_LAST = """
SELECT finished_at, ok, checks FROM audit_results ORDER BY finished_at DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: its rule, and the ids of the rows that break it."""

    name: str
    rule: str
    offending: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.offending


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """The result of one check, as it is stored."""

    name: str
    rule: str
    ok: bool
    # The first of the offending ids.
    offending: list[str]
    offending_count: int

    @classmethod
    def of(cls, check: Check) -> "AuditFinding":
        first = list(check.offending[:OFFENDING_KEPT])
        return cls(check.name, check.rule, check.ok, first, len(check.offending))


@dataclass(frozen=True, slots=True)
class AuditResult:
    finished_at: datetime
    ok: bool
    checks: tuple[AuditFinding, ...]


async def save(conn: Connection, findings: Sequence[AuditFinding]) -> None:
    """Store the result of an audit, and delete all but the newest hundred."""
    await conn.execute(_SAVE, all(f.ok for f in findings), [asdict(f) for f in findings])
    await conn.execute(_DELETE_OLD)


async def last(conn: Connection) -> AuditResult | None:
    """Return the result of the last audit."""
    row = await conn.fetchrow(_LAST)
    if row is None:
        return None
    findings = tuple(AuditFinding(**saved) for saved in row["checks"])
    return AuditResult(row["finished_at"], row["ok"], findings)
