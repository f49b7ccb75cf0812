"""Prometheus metrics of an ingester."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class IngestMetrics:
    """The metrics. As in the database, received = stored + duplicate + rejected."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"solarhub_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"solarhub_{name}", text, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"solarhub_{name}", text, buckets=buckets, registry=registry)

        self.received = counter("readings_received", "Readings received")
        self.stored = counter("readings_stored", "Readings stored")
        self.duplicate = counter("readings_duplicate", "Readings that were stored already")
        self.rejected = counter("readings_rejected", "Readings and messages rejected", "reason")
        self.ignored = counter("messages_ignored", "Messages that are retained or of other topics")
        self.fields_ignored = counter("fields_ignored", "Unknown fields in readings")
        self.retries = counter("ingest_retries", "Failed writes of a batch that were repeated")
        self.reconnects = counter("ingest_reconnects", "Lost connections to the broker")
        self.sessions = gauge("ingest_sessions", "Sessions of the group that this ingester reads")
        self.reaccounted = counter(
            "devices_reaccounted", "Devices accounted again beside the batches for late readings"
        )
        self.late_readings_waiting = gauge(
            "late_readings_waiting", "Late readings of all devices that wait to be accounted"
        )
        self.notices_dropped = counter(
            "answers_dropped", "Notices of rejections that a slow broker kept from being sent"
        )
        self.broker_account_changes = counter(
            "device_account_changes", "Broker accounts of devices created, changed or removed"
        )
        self.broker_accounts = gauge("device_accounts", "Devices that need a broker account")
        self.broker_accounts_behind = gauge(
            "device_accounts_behind", "Broker accounts of devices that are missing or outdated"
        )
        self.batch_readings = histogram(
            "ingest_batch_readings", "Readings per batch", (1, 3, 10, 30, 100, 300, 1000)
        )
        self.commit_seconds = histogram(
            "ingest_commit_seconds", "Time to write and commit a batch", _SECONDS
        )
        self.receipt_to_commit_seconds = histogram(
            "ingest_receipt_to_commit_seconds",
            "Time from the receipt of a batch's oldest message to the commit",
            _SECONDS,
        )
