"""The sessions that a group keeps at the broker: which there are, and which ingester reads each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from db.pool import Connection, Pool, Record

# Whoever changes which sessions there are does so alone.
_LOCK = "LOCK TABLE ingest_sessions IN SHARE ROW EXCLUSIVE MODE"

# `wanted`: by those that were seen in the last $2.
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

# $2: that of an ingester which now reads the group's; $3: and those not seen for so long.
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
    """A session of a group, which receives the whole stream and stores a share of it."""

    client_id: str
    share: int
    shares: int
    is_former: bool
    is_subscribed: bool


@dataclass(frozen=True, slots=True)
class Arrangement:
    """`shares`: into how many the stream is divided; None: not yet. `former`: how many sessions of
    an earlier arrangement are left, `others`: how many members still have a session of their own.
    `is_settled`: the broker has long kept the sessions of this arrangement.
    `wanted`: how many sessions the members want, which may differ."""

    shares: int | None
    former: int
    others: int
    is_settled: bool
    wanted: Sequence[int]

    @property
    def is_open(self) -> bool:
        """Whether all that earlier sessions held is stored, so that these may be read."""
        return self.shares is not None and not self.former and not self.others

    def is_to_change(self, sessions: int) -> bool:
        """Whether the stream is to be divided anew: once all want it, one change at a time."""
        if self.shares is None:
            return True
        return self.shares != sessions and not self.former and list(self.wanted) == [sessions]


@dataclass(frozen=True, slots=True)
class Member:
    """An ingester of a group, and how many sessions it reads."""

    member: str
    holder: UUID
    sessions: int


def client_ids(group: str, shares: int) -> list[str]:
    """The names of a group's sessions at the broker."""
    return [f"solarhub-{group}-{number}-of-{shares}" for number in range(1, shares + 1)]


async def arrangement(
    conn: Connection | Pool, group: str, *, seen_within: timedelta, settled_after: timedelta
) -> Arrangement:
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
    """Keep which sessions there are as it is, until commit."""
    await conn.execute(_LOCK)


async def divide(conn: Connection, group: str, shares: int) -> None:
    """Have new sessions for so many shares; those that there are become former ones."""
    await conn.execute(_MAKE_FORMER, group)
    await conn.execute(_MAKE, group, shares, client_ids(group, shares))


async def adopt(pool: Pool, group: str, member: str, *, gone_after: timedelta | None) -> None:
    """Take for former sessions what ingesters kept on their own: the member's, and those of who is
    gone from the group, unless None tells that one can't know."""
    await pool.execute(_ADOPT, group, member, gone_after)


async def reclaim(pool: Pool, group: str, holder: UUID, member: str) -> None:
    """Take what this member read when it ran last."""
    await pool.execute(_RECLAIM, group, holder, member)


async def take(
    pool: Pool, group: str, holder: UUID, member: str, *, gone_after: timedelta | None
) -> None:
    """Take what nobody holds, and what was held by who is gone, unless one can't know."""
    await pool.execute(_TAKE, group, holder, member, gone_after)


async def keep(pool: Pool, holder: UUID) -> list[SharedSession]:
    """Say that we still read what is ours. Returns what that is."""
    return [_session(row) for row in await pool.fetch(_KEEP, holder)]


def _session(row: Record) -> SharedSession:
    return SharedSession(**row)


async def hand_over(pool: Pool, client_id: str, holder: UUID, to: Member) -> None:
    await pool.execute(_HAND_OVER, client_id, holder, to.holder, to.member)


async def note_subscribed(pool: Pool, client_id: str, holder: UUID) -> None:
    """From now on the broker keeps the stream for it, whether it is read or not."""
    await pool.execute(_SUBSCRIBED, client_id, holder)


async def remove(pool: Pool, client_id: str, holder: UUID) -> None:
    """Forget a former session, unless it is somebody else's by now."""
    await pool.execute(_REMOVE, client_id, holder)


async def release(pool: Pool, holder: UUID) -> None:
    """Leave what is ours to whoever comes first."""
    await pool.execute(_RELEASE, holder)


async def fewest(pool: Pool, group: str, holder: UUID, *, seen_within: timedelta) -> Member | None:
    """The other member that reads the fewest sessions."""
    row = await pool.fetchrow(_FEWEST, group, holder, seen_within)
    return Member(**row) if row is not None else None


async def are_read(
    pool: Pool, group: str, *, seen_within: timedelta, for_so_long: timedelta
) -> bool:
    """Whether every session of the group has been read for so long."""
    return bool(await pool.fetchval(_ARE_READ, group, seen_within, for_so_long))


async def unread(pool: Pool, *, gone_after: timedelta) -> list[str]:
    """Sessions that were not read for so long, of whatever group."""
    return [row["client_id"] for row in await pool.fetch(_UNREAD, gone_after)]
