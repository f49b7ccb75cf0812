"""The metrics of the API for Prometheus."""

from collections.abc import Callable
from functools import cache
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from core.ids import UserId
from db.pool import Pool

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ACTIVE_WITHIN_S = 300
# Bounds the memory of the count of active users.
_ACTIVE_USERS_MAX = 100_000


class ApiMetrics:
    """The metrics of one API process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter(
            "solarhub_http_requests",
            "Number of requests that were answered",
            ("method", "route", "status"),
            registry=registry,
        )
        request_seconds = Histogram(
            "solarhub_http_request_seconds",
            "Time from a request to the end of its response in seconds",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        # The lookup of a counter by its labels takes several times as long as the increment.
        self._requests = cache(requests.labels)
        self._request_seconds = cache(request_seconds.labels)
        self.purchases = Counter(
            "solarhub_purchases", "Number of purchases that were committed", registry=registry
        )
        self.traded_kwh = Counter(
            "solarhub_traded_kwh", "Energy of committed purchases in kWh", registry=registry
        )
        self.active_users = ActiveUsers()
        Gauge(
            "solarhub_active_users",
            "Number of users with an authorized request in the last 5 minutes",
            registry=registry,
        ).set_function(self.active_users.count)
        self._connections = Gauge(
            "solarhub_api_pool_connections",
            "Number of database connections of the API",
            ("state",),
            registry=registry,
        )
        self.reads = Counter(
            "solarhub_reads",
            "Number of reads that a replica may answer, by the server that did",
            ("server",),
            registry=registry,
        )
        self._registry = registry

    def watch_replica(self, *, is_ok: Callable[[], bool], lag_bytes: Callable[[], int]) -> None:
        """Report the state of the replica at each scrape."""
        Gauge(
            "solarhub_replica_ok", "1 while the replica answers reads", registry=self._registry
        ).set_function(is_ok)
        Gauge(
            "solarhub_replica_behind_bytes",
            "Bytes of the write-ahead log that the replica had not replayed at the last round",
            registry=self._registry,
        ).set_function(lag_bytes)

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count a response. `route` is the template of its path."""
        self._requests(method, route, status).inc()
        self._request_seconds(method, route).observe(duration_s)

    def watch_pool(self, pool: Pool) -> None:
        """Report the connections of the pool at each scrape."""
        self._connections.labels("open").set_function(pool.get_size)
        self._connections.labels("idle").set_function(pool.get_idle_size)
        self._connections.labels("most").set_function(pool.get_max_size)


class ActiveUsers:
    """The users of the last minutes, at most the `most` recent ones."""

    def __init__(
        self,
        *,
        within_s: float = _ACTIVE_WITHIN_S,
        most: int = _ACTIVE_USERS_MAX,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._within_s = within_s
        self._most = most
        self._clock = clock
        # Ordered by the last request, so that the oldest entries come first.
        self._seen_at: dict[UserId, float] = {}

    def seen(self, user_id: UserId) -> None:
        """Record a request of a user."""
        self._seen_at.pop(user_id, None)
        self._seen_at[user_id] = self._clock()
        if len(self._seen_at) > self._most:
            self._forget_oldest()

    def count(self) -> int:
        """Return the number of users of the last minutes."""
        oldest = self._clock() - self._within_s
        while self._seen_at and next(iter(self._seen_at.values())) <= oldest:
            self._forget_oldest()
        return len(self._seen_at)

    def _forget_oldest(self) -> None:
        del self._seen_at[next(iter(self._seen_at))]
