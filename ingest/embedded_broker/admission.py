"""Admission of connections: limits in total and per address, and eviction. Pure."""

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, Protocol, TypeVar

from ingest.embedded_broker.limits import BrokerLimits

# The IPv6 network of one household or host, which may use every address in it.
_IPV6_PREFIX = 64


class NoRoomError(Exception):
    """There are too many connections, and none that may be evicted."""


class Admitted(Protocol):
    """A connection. One that `is_signing_in` has sent its CONNECT, so it is not evicted."""

    @property
    def address(self) -> str: ...
    @property
    def is_signing_in(self) -> bool: ...


ConnectionT = TypeVar("ConnectionT", bound=Admitted)


class Admission(Generic[ConnectionT]):
    """Counts connections, in total and per address.

    At a limit, the oldest connection that has sent no CONNECT is evicted for a new one. So clients
    that connect and stay silent cannot keep others out.
    """

    def __init__(self, limits: BrokerLimits) -> None:
        self._limits = limits
        self._all: set[ConnectionT] = set()
        self._by_address: Counter[str] = Counter()
        # By address: connections that have not signed in, the oldest first.
        self._pending: dict[str, dict[ConnectionT, None]] = {}
        self._pending_count = 0

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, connection: ConnectionT) -> ConnectionT | None:
        """Admit a connection, and return the one to end for it, if any. Raises NoRoomError."""
        address = connection.address
        evicted = None
        if self._is_full_for(address):
            evicted = self._evict([address])
        elif self._is_full():
            evicted = self._evict(
                sorted(self._pending, key=lambda a: len(self._pending[a]), reverse=True)
            )
        self._all.add(connection)
        self._by_address[address] += 1
        self._pending.setdefault(address, {})[connection] = None
        self._pending_count += 1
        return evicted

    def signed_in(self, connection: ConnectionT) -> None:
        self._no_longer_pending(connection)

    def remove(self, connection: ConnectionT) -> None:
        if connection not in self._all:
            return
        self._no_longer_pending(connection)
        self._all.remove(connection)
        self._by_address[connection.address] -= 1
        if not self._by_address[connection.address]:
            del self._by_address[connection.address]

    def _is_full(self) -> bool:
        limits = self._limits
        return len(self._all) >= limits.connections_max or self._pending_count >= limits.pending_max

    def _is_full_for(self, address: str) -> bool:
        pending = len(self._pending.get(address, ()))
        return (
            self._by_address[address] >= self._limits.connections_per_address_max
            or pending >= self._limits.pending_per_address_max
        )

    def _evict(self, addresses: Iterable[str]) -> ConnectionT:
        """Remove the oldest connection of the first address with one that may be evicted."""
        for address in addresses:
            for connection in self._pending.get(address, ()):
                if not connection.is_signing_in:
                    self.remove(connection)
                    return connection
        raise NoRoomError

    def _no_longer_pending(self, connection: ConnectionT) -> None:
        pending = self._pending.get(connection.address, {})
        if connection in pending:
            del pending[connection]
            self._pending_count -= 1
            if not pending:
                del self._pending[connection.address]


def address_of(host: str) -> str:
    """Return the address or network that a host is counted under."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)
