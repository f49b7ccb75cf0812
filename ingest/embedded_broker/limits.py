"""The limits of the embedded broker, and the rates and deadlines of a connection. Pure."""

from dataclasses import dataclass, replace
from typing import Self

from ingest.mqtt.receive_buffer import PACKET_MAX_BYTES

# Open files that the rest of the process needs.
_OTHER_FILES = 256


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """Every limit of the listener. Those per device do not apply to the hub's own user."""

    # From the first byte, or from the start of a silent connection, to a signed-in client.
    connect_within_s: float = 10.0
    connect_max_bytes: int = 16 * 1024
    client_id_max_bytes: int = 256

    # An IPv6 network of 64 bits counts as one address.
    connections_max: int = 5_000
    connections_per_address_max: int = 2_500
    # Connections that have not signed in yet.
    pending_max: int = 500
    pending_per_address_max: int = 100

    packet_max_bytes: int = PACKET_MAX_BYTES
    # From the first byte of a packet to its last.
    packet_within_s: float = 60.0
    # Of incomplete packets, over all connections; above it the connections with most are closed.
    unfinished_max_bytes: int = 64 * 1024 * 1024
    # A client may be silent for this many times its keep-alive interval (MQTT 3.1.1, 3.1.2.10).
    keep_alive_grace: float = 1.5
    # Of data sent to a device that it has not read.
    unread_max_bytes: int = 1024 * 1024

    # Of one connection. Anything faster waits in the socket.
    messages_per_device_per_s: int = 1_000
    bytes_per_device_per_s: int = 4 * 1024 * 1024

    # Of messages that are not routed yet, or that the hub has not acknowledged. Above it no device
    # is read, and a session of the hub without a connection is dropped.
    queued_max_bytes: int = 256 * 1024 * 1024

    sessions_per_device_max: int = 8
    filters_per_session_max: int = 20
    filters_per_request_max: int = 100
    filter_max_bytes: int = 1024
    # SUBSCRIBE and UNSUBSCRIBE packets of one connection that are not answered yet.
    unanswered_max: int = 50
    # Messages at QoS 1 sent to a session and not acknowledged. At most 65,534: each needs an id.
    inflight_max: int = 10_000
    # Messages at QoS 2 from one session that it has not released.
    received_max: int = 1_000
    # Messages at QoS 1 for a device's session; at the limit it is closed, or dropped when offline.
    waiting_messages_max: int = 1_000
    session_expires_after_s: float = 14 * 86_400.0

    retained_topics_per_user_max: int = 1_000
    retained_bytes_per_user_max: int = 1024 * 1024

    # Interval of the check of deadlines, which are only as exact as this; signing in has a timer.
    sweep_every_s: float = 1.0

    def within(self, open_files_max: int) -> Self:
        """Return these limits, with at most as many connections as the process may open files."""
        room = max(1, open_files_max - _OTHER_FILES)
        return replace(self, connections_max=min(self.connections_max, room))


class PublishRate:
    """A rate limit in messages and bytes per second, with a burst of one second."""

    def __init__(self, *, messages_per_s: int, bytes_per_s: int, now_s: float) -> None:
        self._rates = (messages_per_s, bytes_per_s)
        # Unused messages and bytes; negative after a burst, until the client has waited.
        self._left = [float(messages_per_s), float(bytes_per_s)]
        self._at_s = now_s

    def wait_s(self, messages: int, size_bytes: int, now_s: float) -> float:
        """Count what was read, and return for how long to read nothing more."""
        passed_s, self._at_s = now_s - self._at_s, now_s
        wait_s = 0.0
        for n, (rate, used) in enumerate(zip(self._rates, (messages, size_bytes), strict=True)):
            self._left[n] = min(rate, self._left[n] + passed_s * rate) - used
            wait_s = max(wait_s, -self._left[n] / rate)
        return wait_s


class Deadlines:
    """The deadlines of a signed-in connection: its keep-alive time, and the end of a packet."""

    def __init__(self, limits: BrokerLimits) -> None:
        self._limits = limits
        self._silence_max_s = 0.0
        self._packet_at_s = 0.0
        # The time of the first byte of an incomplete packet.
        self._begun_at_s: float | None = None

    def begin(self, keep_alive_s: int, now_s: float) -> None:
        """Start the keep-alive time. 0 turns it off: the client may be silent (3.1.2.10)."""
        self._silence_max_s = keep_alive_s * self._limits.keep_alive_grace
        self._packet_at_s = now_s

    def read(self, packets: int, unfinished_bytes: int, now_s: float) -> None:
        """Note the number of complete packets, and the size of the incomplete one after them."""
        if packets:
            self._packet_at_s = now_s
        if not unfinished_bytes:
            self._begun_at_s = None
        elif packets or self._begun_at_s is None:
            self._begun_at_s = now_s

    def pause(self, until_s: float) -> None:
        """Extend the deadlines: the broker does not read until then."""
        self._packet_at_s = max(self._packet_at_s, until_s)
        if self._begun_at_s is not None:
            self._begun_at_s = max(self._begun_at_s, until_s)

    def overdue(self, now_s: float) -> str | None:
        """Return the reason to end the connection, or None."""
        if self._silence_max_s and now_s - self._packet_at_s > self._silence_max_s:
            return "silent beyond its keep-alive time"
        begun_at_s, within_s = self._begun_at_s, self._limits.packet_within_s
        if begun_at_s is not None and now_s - begun_at_s > within_s:
            return "a packet was not completed in time"
        return None
