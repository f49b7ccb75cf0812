"""Sessions of a group of ingesters at the broker, and the ingester that reads each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from db.pool import Connection, Record

# One transaction at a time changes the set of sessions.
_LOCK = "LOCK TABLE ingest_sessions IN SHARE ROW EXCLUSIVE MODE"

# `wanted`: the numbers of sessions that members seen in the last $2 want.
_ARRANGEMENT = """
SELECT max(shares) FILTER (WHERE NOT is_former) AS shares,
       count(*) FILTER (WHERE is_former) AS former,
       (SELECT count(*) FROM ingesters WHERE ingest_group = $1 AND keeps_session) AS others,
       bool_and(coalesce(subscribed_at < now() - $3::interval, false))
         FILTER (WHERE NOT is_former) AS is_settled,
       (SELECT coalesce(array_agg(DISTINCT sessions), '{}') FROM ingesters
         WHERE ingest_group = $1 AND seen_at > now() - $2::interval
           AND sessions IS NOT NULL) AS wanted
  FROM ingest_sessions WHERE ingest_group = $1
"""

_MAKE_FORMER = """
UPDATE ingest_sessions SET is_former = true WHERE ingest_group = $1 AND NOT is_former
"""

_MAKE = """
INSERT INTO ingest_sessions (client_id, ingest_group, share, shares)
SELECT client_id, $1, number - 1, $2::smallint
  FROM unnest($3::text[]) WITH ORDINALITY AS made (client_id, number)
"""

# The session of ingester $2, which is now a member, and those of members not seen for $3.
_ADOPT = """
WITH own AS (
    UPDATE ingesters SET keeps_session = false
     WHERE keeps_session
       AND (client_id = $2 OR (ingest_group = $1 AND seen_at < now() - $3::interval))
    RETURNING client_id
)
INSERT INTO ingest_sessions (client_id, ingest_group, share, shares, is_former)
SELECT client_id, $1, 0, 1, true FROM own
    ON CONFLICT (client_id) DO NOTHING
"""

_RECLAIM = """
UPDATE ingest_sessions SET holder = $2, held_since = now(), seen_at = now()
 WHERE ingest_group = $1 AND member = $3
"""

_TAKE = """
UPDATE ingest_sessions SET holder = $2, member = $3, held_since = now(), seen_at = now()
 WHERE client_id IN (SELECT client_id FROM ingest_sessions
                      WHERE ingest_group = $1
                        AND (holder IS NULL OR seen_at < now() - $4::interval)
                        FOR UPDATE SKIP LOCKED)
"""

_KEEP = """
UPDATE ingest_sessions SET seen_at = now() WHERE holder = $1
RETURNING client_id, share, shares, is_former, subscribed_at IS NOT NULL AS is_subscribed
"""

_HAND_OVER = """
UPDATE ingest_sessions SET holder = $3, member = $4, held_since = now(), seen_at = now()
 WHERE client_id = $1 AND holder = $2
"""

_SUBSCRIBED = """
UPDATE ingest_sessions SET subscribed_at = now()
 WHERE client_id = $1 AND holder = $2 AND subscribed_at IS NULL
"""

_REMOVE = "DELETE FROM ingest_sessions WHERE client_id = $1 AND holder = $2 AND is_former"

_RELEASE = "UPDATE ingest_sessions SET holder = NULL WHERE holder = $1"

_FEWEST = """
SELECT i.client_id AS member, i.holder, count(s.client_id) AS sessions
  FROM ingesters i LEFT JOIN ingest_sessions s ON s.holder = i.holder
 WHERE i.ingest_group = $1 AND i.holder <> $2 AND i.sessions IS NOT NULL
   AND i.seen_at > now() - $3::interval
 GROUP BY i.client_id, i.holder ORDER BY sessions, i.client_id LIMIT 1
"""

_ARE_READ = """
SELECT count(*) = 0 FROM ingest_sessions
 WHERE ingest_group = $1
   AND (is_former OR holder IS NULL OR seen_at < now() - $2::interval
        OR held_since > now() - $3::interval)
"""

_UNREAD = """
SELECT client_id FROM ingest_sessions
 WHERE holder IS NULL OR seen_at < now() - $1::interval ORDER BY client_id
"""


@dataclass(frozen=True, slots=True)
class SharedSession:
    """A session of a group. It receives all messages and stores a share of the devices."""

    client_id: str
    share: int
    shares: int
    is_former: bool
    is_subscribed: bool


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The division of the stream into sessions."""

    # Number of shares; None: the stream is not divided yet.
    shares: int | None
    # Number of remaining sessions of earlier arrangements.
    former: int
    # Number of members that still have a session of their own.
    others: int
    # The broker has queued for all sessions of this arrangement for a while.
    is_settled: bool
    # Numbers of sessions that the members want; they differ if their settings do.
    wanted: Sequence[int]

    @property
    def is_open(self) -> bool:
        """Return True if all messages of earlier sessions are stored, so that these may be read."""
        return self.shares is not None and not self.former and not self.others

    def is_to_change(self, sessions: int) -> bool:
        """Return True if the stream is to be divided anew, as all members want.

        A change begins only after the sessions of the previous one are read to their end.
        """
        if self.shares is None:
            return True
        return self.shares != sessions and not self.former and list(self.wanted) == [sessions]


@dataclass(frozen=True, slots=True)
class Member:
    """An ingester of a group, and the number of sessions that it reads."""

    member: str
    holder: UUID
    sessions: int


def client_ids(group: str, shares: int) -> list[str]:
    """Return the client ids of a group's sessions."""
    return [f"solarhub-{group}-{number}-of-{shares}" for number in range(1, shares + 1)]


async def arrangement(
    conn: Connection, group: str, *, seen_within: timedelta, settled_after: timedelta
) -> Arrangement:
    """Return the current arrangement of a group."""
    row = await conn.fetchrow(_ARRANGEMENT, group, seen_within, settled_after)
    assert row is not None
    return Arrangement(
        shares=row["shares"],
        former=row["former"],
        others=row["others"],
        is_settled=bool(row["is_settled"]),
        wanted=row["wanted"],
    )


async def lock(conn: Connection) -> None:
    """Lock the set of sessions until commit."""
    await conn.execute(_LOCK)


async def divide(conn: Connection, group: str, shares: int) -> None:
    """Create sessions for a number of shares; existing ones become former ones."""
    await conn.execute(_MAKE_FORMER, group)
    await conn.execute(_MAKE, group, shares, client_ids(group, shares))


async def adopt(conn: Connection, group: str, member: str, *, gone_after: timedelta | None) -> None:
    """Turn sessions of single ingesters into former ones: the member's own, and those of members
    that were not seen for `gone_after`. None: it is unknown which members are gone."""
    await conn.execute(_ADOPT, group, member, gone_after)


async def reclaim(conn: Connection, group: str, holder: UUID, member: str) -> None:
    """Claim the sessions that this member read when it last ran."""
    await conn.execute(_RECLAIM, group, holder, member)


async def take(
    conn: Connection, group: str, holder: UUID, member: str, *, gone_after: timedelta | None
) -> None:
    """Claim sessions without a holder, and those of gone holders unless `gone_after` is None."""
    await conn.execute(_TAKE, group, holder, member, gone_after)


async def keep(conn: Connection, holder: UUID) -> list[SharedSession]:
    """Record that the holder still reads its sessions, and return them."""
    return [_session(row) for row in await conn.fetch(_KEEP, holder)]


def _session(row: Record) -> SharedSession:
    return SharedSession(**row)


async def hand_over(conn: Connection, client_id: str, holder: UUID, to: Member) -> None:
    """Make another member the holder of a session."""
    await conn.execute(_HAND_OVER, client_id, holder, to.holder, to.member)


async def note_subscribed(conn: Connection, client_id: str, holder: UUID) -> None:
    """Record that the broker queues messages for a session, whether it is read or not."""
    await conn.execute(_SUBSCRIBED, client_id, holder)


async def remove(conn: Connection, client_id: str, holder: UUID) -> None:
    """Delete a former session, unless it has another holder by now."""
    await conn.execute(_REMOVE, client_id, holder)


async def release(conn: Connection, holder: UUID) -> None:
    """Release all sessions of a holder."""
    await conn.execute(_RELEASE, holder)


async def fewest(
    conn: Connection, group: str, holder: UUID, *, seen_within: timedelta
) -> Member | None:
    """Return the other member that reads the fewest sessions."""
    row = await conn.fetchrow(_FEWEST, group, holder, seen_within)
    return Member(**row) if row is not None else None


async def are_read(
    conn: Connection, group: str, *, seen_within: timedelta, for_so_long: timedelta
) -> bool:
    """Return True if every session of the group has been read for that long."""
    return bool(await conn.fetchval(_ARE_READ, group, seen_within, for_so_long))


async def unread(conn: Connection, *, gone_after: timedelta) -> list[str]:
    """Return sessions of all groups that were not read for that long."""
    return [row["client_id"] for row in await conn.fetch(_UNREAD, gone_after)]
