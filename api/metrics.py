"""What the API tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from db.pool import Pool

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ApiMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "solarhub_http_requests", "Requests answered", ("method", "route", "status"),
            registry=registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "solarhub_http_request_seconds", "From request to answer", ("method", "route"),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.purchases = Counter("solarhub_purchases", "Purchases committed", registry=registry)
        self.traded_kwh = Counter("solarhub_traded_kwh", "Energy bought", registry=registry)
        self._connections = Gauge(
            "solarhub_api_pool_connections", "Database connections of the API", ("state",),
            registry=registry,
        )  # fmt: skip

    def watch_pool(self, pool: Pool) -> None:
        self._connections.labels("open").set_function(pool.get_size)
        self._connections.labels("idle").set_function(pool.get_idle_size)
        self._connections.labels("most").set_function(pool.get_max_size)
