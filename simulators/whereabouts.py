"""Where the hub is: as told, else as a running `solarhub up` wrote it down, else nearby."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from simulators import notes

_NEARBY = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's address. Who we are there is each device's own affair."""

    host: str
    port: int
    secure: bool = False

    @classmethod
    def of(cls, url: str) -> "Broker":
        parts = urlsplit(url)
        secure = parts.scheme == "mqtts"
        return cls(parts.hostname or "127.0.0.1", parts.port or (8883 if secure else 1883), secure)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """`broker` and `feed_url` are None when only the hub's API can tell them."""

    api_url: str
    broker: Broker | None
    feed_url: str | None


def find(data: Path, *, api_url: str | None = None, mqtt_url: str | None = None) -> Whereabouts:
    """What was told counts first; with another API than the one that runs here, nothing else."""
    run = notes.read(data / "run.json") or {}
    if api_url is not None and api_url != run.get("api_url"):
        run = {}
    mqtt_url = mqtt_url or run.get("mqtt_url")
    return Whereabouts(
        api_url=(api_url or run.get("api_url") or _NEARBY).rstrip("/"),
        broker=Broker.of(mqtt_url) if mqtt_url else None,
        feed_url=run.get("realtime_url"),
    )
