"""The hub's clock: the one source of time for everything that the hub decides.

It shows the real time. A demonstration or a test gives the hub a clock that starts in the past and
runs faster until it has caught up. No clock runs ahead of the real time, so that data of a
demonstration are never in the future of a later run.

Leases between processes, retries, metrics and the validity of tokens depend on the world outside
the hub. They use `real_now` in Python and PostgreSQL's own functions in SQL.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = timedelta(0)


def real_now() -> datetime:
    """Return the real time, which tokens, leases and other machines go by."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that is `behind` the real time at `since` and catches up at `speed`.

    Without arguments it shows the real time. The function `hub_time` computes the same in SQL.
    """

    # A real instant.
    since: datetime = _EPOCH
    behind: timedelta = _NOTHING
    # Seconds of this clock per second of real time, until it has caught up.
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.behind < _NOTHING or self.speed < 1:
            raise ValueError("a clock may neither run ahead of the real time nor fall behind")

    @classmethod
    def starting(cls, at: datetime, *, speed: float) -> "Clock":
        """Return a clock that shows `at` now; the real time if `at` is later."""
        now = real_now()
        return cls(now, max(_NOTHING, now - at), speed)

    def now(self) -> datetime:
        """Return the hub's time."""
        return self.at(real_now())

    def at(self, real: datetime) -> datetime:
        """Return the hub's time at a real instant."""
        return real - self._lag(real)

    @property
    def pace(self) -> float:
        """Return how many seconds of this clock pass in a second: 1 once it has caught up."""
        return self.speed if self._lag(real_now()) else 1.0

    def real_s(self, duration: timedelta) -> float:
        """Return the real seconds in which this clock shows that `duration` has passed."""
        return duration.total_seconds() / self.pace

    def lasting(self, real: timedelta) -> timedelta:
        """Return the time that this clock shows to pass in a real duration."""
        return real * self.pace

    def _lag(self, real: datetime) -> timedelta:
        if not self.behind:
            return _NOTHING
        return max(_NOTHING, self.behind - (real - self.since) * (self.speed - 1))

    def __str__(self) -> str:
        """Return the text that `parse` and the SQL function `hub_time` read."""
        return f"{self.since.isoformat()} {self.behind.total_seconds()} {self.speed}"

    @classmethod
    def parse(cls, text: str) -> "Clock":
        """Return the clock of a text. Raises ValueError."""
        since, behind_s, speed = text.split(" ")
        return cls(datetime.fromisoformat(since), timedelta(seconds=float(behind_s)), float(speed))


REAL_TIME = Clock()
