"""What the API tells Prometheus."""

from collections.abc import Callable
from functools import cache
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.http.replica import Replica
from core.ids import UserId
from db.pool import Pool

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ACTIVE_WITHIN_S = 300
_ACTIVE_MOST = 100_000


class ApiMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter(
            "solarhub_http_requests", "Requests answered", ("method", "route", "status"),
            registry=registry,
        )  # fmt: skip
        request_seconds = Histogram(
            "solarhub_http_request_seconds", "From request to answer", ("method", "route"),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        # To find a counter by its labels takes several times as long as to count.
        self._requests = cache(requests.labels)
        self._request_seconds = cache(request_seconds.labels)
        self.purchases = Counter("solarhub_purchases", "Purchases committed", registry=registry)
        self.traded_kwh = Counter("solarhub_traded_kwh", "Energy bought", registry=registry)
        self.active_users = ActiveUsers()
        Gauge(
            "solarhub_active_users", "People with a signed-in request in the last 5 minutes",
            registry=registry,
        ).set_function(self.active_users.count)  # fmt: skip
        self._connections = Gauge(
            "solarhub_api_pool_connections", "Database connections of the API", ("state",),
            registry=registry,
        )  # fmt: skip
        self.reads = Counter(
            "solarhub_reads", "Reads that a replica might answer, by who did", ("server",),
            registry=registry,
        )  # fmt: skip
        self._registry = registry

    def watch_replica(self, replica: Replica) -> None:
        Gauge(
            "solarhub_replica_ok", "Whether the replica answers", registry=self._registry
        ).set_function(lambda: replica.state == "ok")
        Gauge(
            "solarhub_replica_behind_bytes", "Of the log, that the replica has not replayed",
            registry=self._registry,
        ).set_function(lambda: replica.behind_bytes)  # fmt: skip

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        self._requests(method, route, status).inc()
        self._request_seconds(method, route).observe(duration_s)

    def watch_pool(self, pool: Pool) -> None:
        self._connections.labels("open").set_function(pool.get_size)
        self._connections.labels("idle").set_function(pool.get_idle_size)
        self._connections.labels("most").set_function(pool.get_max_size)


class ActiveUsers:
    """Who was here in the last minutes: the most recent of them, if they are very many."""

    def __init__(
        self,
        *,
        within_s: float = _ACTIVE_WITHIN_S,
        most: int = _ACTIVE_MOST,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._within_s = within_s
        self._most = most
        self._clock = clock
        # In the order of their last request.
        self._seen_at: dict[UserId, float] = {}

    def seen(self, user_id: UserId) -> None:
        self._seen_at.pop(user_id, None)
        self._seen_at[user_id] = self._clock()
        if len(self._seen_at) > self._most:
            self._forget_oldest()

    def count(self) -> int:
        too_old = self._clock() - self._within_s
        while self._seen_at and next(iter(self._seen_at.values())) <= too_old:
            self._forget_oldest()
        return len(self._seen_at)

    def _forget_oldest(self) -> None:
        del self._seen_at[next(iter(self._seen_at))]
