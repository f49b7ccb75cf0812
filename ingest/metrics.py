"""What the ingester tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class IngestMetrics:
    """received = stored + duplicate + rejected, here as in the database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"solarhub_{name}", text, labels, registry=registry)

        self.received = counter("readings_received", "Readings received")
        self.stored = counter("readings_stored", "Readings stored")
        self.duplicate = counter("readings_duplicate", "Readings that were there already")
        self.rejected = counter("readings_rejected", "Readings and messages refused", "reason")
        self.ignored = counter("messages_ignored", "Messages that are not for us, or retained")
        self.fields_ignored = counter("fields_ignored", "Unknown fields in readings")
        self.retries = counter("ingest_retries", "Batches that had to be written again")
        self.reconnects = counter("ingest_reconnects", "Connections to the broker that were lost")
        self.sessions = Gauge(
            "solarhub_ingest_sessions", "Sessions of its group that this ingester reads",
            registry=registry,
        )  # fmt: skip
        self.reaccounted = counter(
            "devices_reaccounted", "Devices accounted again beside the batches, for late readings"
        )
        self.answers_dropped = counter(
            "answers_dropped", "Answers to devices that were not sent, the broker being too slow"
        )
        self.account_changes = counter(
            "device_account_changes", "Accounts of devices made, changed or ended at the broker"
        )
        self.accounts = Gauge(
            "solarhub_device_accounts", "Devices that are to have an account at the broker",
            registry=registry,
        )  # fmt: skip
        self.accounts_behind = Gauge(
            "solarhub_device_accounts_behind", "Of these, how many are not as they should be",
            registry=registry,
        )  # fmt: skip
        self.batch_readings = Histogram(
            "solarhub_ingest_batch_readings", "Readings per batch",
            buckets=(1, 3, 10, 30, 100, 300, 1000), registry=registry,
        )  # fmt: skip
        self.commit_seconds = Histogram(
            "solarhub_ingest_commit_seconds", "Time to write and commit a batch",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.receipt_to_commit_seconds = Histogram(
            "solarhub_ingest_receipt_to_commit_seconds", "From receipt of a batch's oldest message",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
