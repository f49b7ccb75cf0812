"""Throughput samples, one per second: written by the active relay for the control room."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.pool import Connection

# The control room shows at most an hour.
_RETAINED_FOR = timedelta(hours=1)

_ADD = """
INSERT INTO flow_samples (received, stored, duplicate, rejected, events, outbox_depth, outbox_age_s,
                          sockets, commit_to_socket_p50_ms, commit_to_socket_p99_ms)
SELECT coalesce(sum(received), 0), coalesce(sum(stored), 0), coalesce(sum(duplicate), 0),
       coalesce(sum(rejected), 0), $1, $2, $3, $4, $5, $6
  FROM device_states
"""

_DELETE_OLD = "DELETE FROM flow_samples WHERE time < now() - $1::interval"

_SINCE = """
SELECT time, received, stored, duplicate, rejected, events, outbox_depth, outbox_age_s,
       sockets, commit_to_socket_p50_ms, commit_to_socket_p99_ms
  FROM flow_samples WHERE time > $1 ORDER BY time LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """Figures of the last second from all realtime processes: sums, and the worst latencies."""

    sockets: int
    commit_to_socket_p50_ms: float | None
    commit_to_socket_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class FlowSample:
    """The throughput at one time."""

    time: datetime
    # Numbers of readings since the hub's start.
    received: int
    stored: int
    duplicate: int
    rejected: int
    # Events published since the previous sample.
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
    """Store a sample. `feed` None: no realtime process reports."""
    await conn.execute(
        _ADD,
        events,
        outbox_depth,
        outbox_age_s,
        feed.sockets if feed else None,
        feed.commit_to_socket_p50_ms if feed else None,
        feed.commit_to_socket_p99_ms if feed else None,
    )


async def delete_old(conn: Connection) -> None:
    """Delete samples that the control room no longer shows."""
    await conn.execute(_DELETE_OLD, _RETAINED_FOR)


async def since(conn: Connection, at: datetime, *, limit: int) -> list[FlowSample]:
    """Return the samples after an instant, oldest first."""
    return [FlowSample(**dict(row)) for row in await conn.fetch(_SINCE, at, limit)]
