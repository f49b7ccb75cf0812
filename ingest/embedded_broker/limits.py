"""What the embedded broker takes from the network, at most."""

from dataclasses import dataclass, replace
from typing import Self

from ingest.mqtt.receive_buffer import PACKET_MAX_BYTES

# Of the files that a process may open, those that are left to everything but the broker.
_FILES_BESIDE_CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the listener. Those per device do not hold for the hub's own user."""

    connect_within_s: float = 10.0
    """From the first byte, or none, to a signed-in connection."""
    connect_max_bytes: int = 16 * 1024
    client_id_max_bytes: int = 256

    connections_max: int = 5_000
    connections_per_address_max: int = 2_500
    """An IPv6 network of 64 bits counts as one address."""
    pending_max: int = 500
    """Connections that have not signed in yet."""
    pending_per_address_max: int = 100

    packet_max_bytes: int = PACKET_MAX_BYTES
    packet_within_s: float = 60.0
    """From the first byte of a packet to its last."""
    unfinished_max_bytes: int = 64 * 1024 * 1024
    """Of packets that have begun, over all connections; the largest ends first."""
    keep_alive_grace: float = 1.5
    """How often a client's keep-alive time may pass in silence (MQTT 3.1.1, 3.1.2.10)."""
    unread_max_bytes: int = 1024 * 1024
    """Of what a device was sent."""

    messages_per_device_per_s: int = 1_000
    bytes_per_device_per_s: int = 4 * 1024 * 1024
    """Of one connection; what comes faster is read later."""

    queued_max_bytes: int = 256 * 1024 * 1024
    """Of messages that are not routed yet, or that the hub has yet to acknowledge: with more, no
    device is read, and a session of the hub that is away is forgotten."""

    sessions_per_device_max: int = 8
    filters_per_session_max: int = 20
    filters_per_request_max: int = 100
    filter_max_bytes: int = 1024
    unanswered_max: int = 50
    """SUBSCRIBEs and UNSUBSCRIBEs of one connection that wait for their answer."""
    inflight_max: int = 10_000
    """Messages at QoS 1 that a session is sent ahead of its acknowledgements; at most 65,534."""
    received_max: int = 1_000
    """Messages at QoS 2 of one session that it has not released."""
    waiting_messages_max: int = 1_000
    """At QoS 1, for a session of a device, away or not; with more it is forgotten."""
    session_expires_after_s: float = 14 * 86_400.0

    retained_topics_per_user_max: int = 1_000
    retained_bytes_per_user_max: int = 1024 * 1024

    sweep_every_s: float = 1.0
    """How often time is looked at; deadlines but that of signing in are as exact as that."""

    def within(self, open_files_max: int) -> Self:
        """The same, with no more connections than a process with so many open files can hold."""
        room = max(1, open_files_max - _FILES_BESIDE_CONNECTIONS)
        return replace(self, connections_max=min(self.connections_max, room))
