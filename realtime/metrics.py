"""Prometheus metrics of the relay and of a realtime process."""

from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Limit of the latencies between two reports to the control room.
_LATENCIES_KEPT = 10_000


class RelayMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"solarhub_{name}", text, registry=registry)

        self.active = gauge("relay_active", "1 while this relay is the active one")
        self.outbox_depth = gauge("outbox_depth", "Events that are waiting to be published")
        self.outbox_age_seconds = gauge(
            "outbox_age_seconds", "Age of the oldest event that is waiting to be published"
        )
        self.published = Counter("solarhub_events_published", "Events published", registry=registry)
        self.set_aside = Counter(
            "solarhub_events_set_aside",
            "Events that were set aside because Redis refused them",
            registry=registry,
        )
        self.retries = Counter(
            "solarhub_relay_retries",
            "Publishing attempts that failed and were repeated",
            registry=registry,
        )


class DigestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.sequence = Gauge(
            "solarhub_ledger_digest_sequence",
            "Number of digests in the ledger's chain",
            registry=registry,
        )
        # Each reported head is one series in Prometheus: at most one a minute.
        self.head = Info(
            "solarhub_ledger_digest_head",
            "Last reported head of the ledger's chain of digests",
            registry=registry,
        )
        self.waiting_seconds = Gauge(
            "solarhub_ledger_undigested_seconds",
            "Age of the oldest ledger entry that no digest covers",
            registry=registry,
        )
        self.conflicts = Counter(
            "solarhub_ledger_digest_conflicts",
            "Number of times the chain differed from the one that this relay wrote",
            registry=registry,
        )


class HubMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"solarhub_{name}", text, labels, registry=registry)

        self.clients = Gauge("solarhub_feed_clients", "Signed-in clients", registry=registry)
        self.users = Gauge(
            "solarhub_feed_users", "Users with a signed-in client", registry=registry
        )
        self.deliveries = counter("feed_deliveries", "Events written to clients")
        self.drops = counter(
            "feed_drops", "Events that were not written because a client reads too slowly"
        )
        self.closed = counter("feed_closed", "Clients closed by the hub, by close code", "code")
        self.commit_to_socket_seconds = Histogram(
            "solarhub_feed_commit_to_socket_seconds",
            "Time from an event's commit until it was written to its last socket",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._latencies_s: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self.signed_in = 0

    def client_signed_in(self, *, users: int) -> None:
        """Count a client that signed in. `users`: number of users with a client now."""
        self._count(self.signed_in + 1, users)

    def client_left(self, *, users: int) -> None:
        """Count a client that left. `users`: number of users with a client now."""
        self._count(self.signed_in - 1, users)

    def _count(self, clients: int, users: int) -> None:
        self.signed_in = clients
        self.clients.set(clients)
        self.users.set(users)

    def observe_delivery(self, latency_s: float) -> None:
        """Record the time from an event's commit until it was written to its last socket."""
        self.commit_to_socket_seconds.observe(latency_s)
        self._latencies_s.append(latency_s)

    def take_latencies(self) -> list[float]:
        """Return and clear the latencies in seconds, at most the newest `_LATENCIES_KEPT`."""
        taken = list(self._latencies_s)
        self._latencies_s.clear()
        return taken
