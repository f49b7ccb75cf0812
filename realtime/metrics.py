"""What relay and hub tell Prometheus."""

from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LATENCIES_KEPT = 10_000


class RelayMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"solarhub_{name}", text, registry=registry)

        self.active = gauge("relay_active", "1 while this relay is the one that publishes")
        self.outbox_depth = gauge("outbox_depth", "Events that wait to be published")
        self.outbox_age_seconds = gauge("outbox_age_seconds", "Age of the oldest of them")
        self.published = Counter("solarhub_events_published", "Events published", registry=registry)
        self.set_aside = Counter(
            "solarhub_events_set_aside", "Events that could not be published", registry=registry
        )
        self.retries = Counter(
            "solarhub_relay_retries", "Batches that had to be published again", registry=registry
        )


class DigestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.sequence = Gauge(
            "solarhub_ledger_digest_sequence", "Digests of the ledger so far", registry=registry
        )
        # One series for each head that is told, which is once a minute at most.
        self.head = Info(
            "solarhub_ledger_digest_head", "The last head that was told", registry=registry
        )
        self.waiting_seconds = Gauge(
            "solarhub_ledger_undigested_seconds",
            "Age of the oldest ledger entry that no digest vouches for",
            registry=registry,
        )
        self.conflicts = Counter(
            "solarhub_ledger_digest_conflicts",
            "Times that digests were not those written before",
            registry=registry,
        )


class HubMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"solarhub_{name}", text, labels, registry=registry)

        self.clients = Gauge(
            "solarhub_feed_clients", "Clients that are signed in", registry=registry
        )
        self.users = Gauge("solarhub_feed_users", "Users with a client", registry=registry)
        self.deliveries = counter("feed_deliveries", "Events written to clients")
        self.drops = counter("feed_drops", "Events that a client was too slow for")
        self.closed = counter("feed_closed", "Clients that the hub closed", "code")
        self.commit_to_socket_seconds = Histogram(
            "solarhub_feed_commit_to_socket_seconds", "From an event's commit to its last socket",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._latencies_s: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self.signed_in = 0

    def came(self, users: int) -> None:
        """A client signed in; `users` have one now."""
        self._count(self.signed_in + 1, users)

    def left(self, users: int) -> None:
        self._count(self.signed_in - 1, users)

    def _count(self, clients: int, users: int) -> None:
        self.signed_in = clients
        self.clients.set(clients)
        self.users.set(users)

    def told_after(self, latency_s: float) -> None:
        """An event reached its last socket so long after its commit."""
        self.commit_to_socket_seconds.observe(latency_s)
        self._latencies_s.append(latency_s)

    def take_latencies(self) -> list[float]:
        """Those since this was asked before, the latest of them if they are very many."""
        taken = list(self._latencies_s)
        self._latencies_s.clear()
        return taken
