"""Where the hub is."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from simulators.hub_client import UserAccount


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker's address. Who we are there is each device's own affair."""

    host: str
    port: int
    secure: bool = False
    ca_file: str | None = None

    @classmethod
    def of(cls, url: str, ca_file: str | None = None) -> "BrokerAddress":
        """`ca_file`: certificates to trust for mqtts://, instead of the system's."""
        parts = urlsplit(url)
        secure = parts.scheme == "mqtts"
        port = parts.port or (8883 if secure else 1883)
        return cls(parts.hostname or "127.0.0.1", port, secure, ca_file)


@dataclass(frozen=True, slots=True)
class HubAddresses:
    """`broker` and `feed_url` are None when only the hub's API can tell them.

    `administrator`: the hub's, if we may act for one.
    """

    api_url: str
    broker: BrokerAddress | None = None
    feed_url: str | None = None
    administrator: UserAccount | None = None
