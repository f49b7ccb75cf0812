"""How everything flows, second by second: written by the active relay, for the control room."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.pool import Connection

KEPT = timedelta(hours=1)

_ADD = """
INSERT INTO flow_samples (received, stored, duplicate, rejected, events, outbox_depth, outbox_age_s,
                          sockets, commit_to_socket_p50_ms, commit_to_socket_p99_ms)
SELECT coalesce(sum(received), 0), coalesce(sum(stored), 0), coalesce(sum(duplicate), 0),
       coalesce(sum(rejected), 0), $1, $2, $3, $4, $5, $6
  FROM device_states
"""

_FORGET = "DELETE FROM flow_samples WHERE time < now() - $1::interval"

_SINCE = """
SELECT time, received, stored, duplicate, rejected, events, outbox_depth, outbox_age_s,
       sockets, commit_to_socket_p50_ms, commit_to_socket_p99_ms
  FROM flow_samples WHERE time > $1 ORDER BY time LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """What live feeds tell of the last second: of all their processes together, the worst times."""

    sockets: int
    commit_to_socket_p50_ms: float | None
    commit_to_socket_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class FlowSample:
    """Readings count all that came, ever; `events`: published since the sample before."""

    time: datetime
    received: int
    stored: int
    duplicate: int
    rejected: int
    events: int
    outbox_depth: int
    outbox_age_s: float
    sockets: int | None
    commit_to_socket_p50_ms: float | None
    commit_to_socket_p99_ms: float | None


async def add(
    conn: Connection, *, events: int, outbox_depth: int, outbox_age_s: float,
    feed: FeedFigures | None,
) -> None:  # fmt: skip
    """Note this second. `feed` None: nobody tells."""
    await conn.execute(
        _ADD,
        events,
        outbox_depth,
        outbox_age_s,
        feed.sockets if feed else None,
        feed.commit_to_socket_p50_ms if feed else None,
        feed.commit_to_socket_p99_ms if feed else None,
    )


async def forget_old(conn: Connection) -> None:
    await conn.execute(_FORGET, KEPT)


async def since(conn: Connection, at: datetime, *, limit: int) -> list[FlowSample]:
    """The samples after a moment, oldest first."""
    return [FlowSample(**dict(row)) for row in await conn.fetch(_SINCE, at, limit)]
