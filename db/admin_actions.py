"""Actions of administrators: the user, the subject, its state before and after, and the reason.

An action is recorded in the transaction of its change. A record is never changed or deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.enums import ActionSubject
from core.ids import UserId
from db.pool import Connection

_RECORD = """
INSERT INTO admin_actions (admin_id, action, subject_kind, subject_id, before, after, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

_NEWEST = """
SELECT a.id, a.admin_id, u.email AS admin_email, a.action, a.subject_kind, a.subject_id,
       coalesce(d.name, s.full_name) AS subject_name, a.before, a.after, a.reason, a.created_at
  FROM (SELECT id FROM admin_actions WHERE id < $1 ORDER BY id DESC LIMIT $2) AS newest
  JOIN admin_actions a USING (id)
  LEFT JOIN users u ON u.id = a.admin_id
  LEFT JOIN users s ON a.subject_kind = 'user' AND s.id = a.subject_id
  LEFT JOIN devices d ON a.subject_kind = 'device' AND d.id = a.subject_id
 ORDER BY a.id DESC
"""

_NEWEST_OF_SUBJECT = """
SELECT a.id, a.admin_id, u.email AS admin_email, a.action, a.subject_kind, a.subject_id,
       coalesce(d.name, s.full_name) AS subject_name, a.before, a.after, a.reason, a.created_at
  FROM (SELECT id FROM admin_actions WHERE subject_id = $3 AND id < $1
         ORDER BY id DESC LIMIT $2) AS newest
  JOIN admin_actions a USING (id)
  LEFT JOIN users u ON u.id = a.admin_id
  LEFT JOIN users s ON a.subject_kind = 'user' AND s.id = a.subject_id
  LEFT JOIN devices d ON a.subject_kind = 'device' AND d.id = a.subject_id
 ORDER BY a.id DESC
"""


@dataclass(frozen=True, slots=True)
class NewAdminAction:
    """An action to record."""

    admin_id: UserId
    action: str
    subject_kind: ActionSubject
    subject_id: UUID
    # The changed fields before and after the action, as JSON values.
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    reason: str | None


@dataclass(frozen=True, slots=True)
class AdminAction:
    """A recorded action. The name of a deleted user or device is None."""

    id: int
    admin_id: UserId
    admin_email: str | None
    action: str
    subject_kind: ActionSubject
    subject_id: UUID
    subject_name: str | None
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str | None
    created_at: datetime


async def record(conn: Connection, new: NewAdminAction) -> None:
    """Record an action."""
    await conn.execute(
        _RECORD, new.admin_id, new.action, new.subject_kind, new.subject_id, dict(new.before),
        dict(new.after), new.reason,
    )  # fmt: skip


async def newest(
    conn: Connection, subject_id: UUID | None, *, before_id: int, limit: int
) -> list[AdminAction]:
    """Return all actions, or those on one user or device, newest first."""
    if subject_id is None:
        rows = await conn.fetch(_NEWEST, before_id, limit)
    else:
        rows = await conn.fetch(_NEWEST_OF_SUBJECT, before_id, limit, subject_id)
    return [AdminAction(**dict(row)) for row in rows]
