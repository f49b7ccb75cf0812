"""When a signed-in connection has been silent or slow for too long. Pure."""

from ingest.embedded_broker.limits import Limits


class Deadlines:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._silence_max_s = 0.0
        self._packet_at_s = 0.0
        self._begun_at_s: float | None = None

    def begin(self, keep_alive_s: int, now_s: float) -> None:
        """`keep_alive_s`: 0 for a client that may be silent (3.1.2.10)."""
        self._silence_max_s = keep_alive_s * self._limits.keep_alive_grace
        self._packet_at_s = now_s

    def read(self, packets: int, unfinished_bytes: int, now_s: float) -> None:
        """Note that so many packets were complete, and how much there is of another one."""
        if packets:
            self._packet_at_s = now_s
        if not unfinished_bytes:
            self._begun_at_s = None
        elif packets or self._begun_at_s is None:
            self._begun_at_s = now_s

    def pause(self, until_s: float) -> None:
        """Note that nothing is read until then."""
        self._packet_at_s = max(self._packet_at_s, until_s)
        if self._begun_at_s is not None:
            self._begun_at_s = max(self._begun_at_s, until_s)

    def overdue(self, now_s: float) -> str | None:
        """Why it has to end now."""
        if self._silence_max_s and now_s - self._packet_at_s > self._silence_max_s:
            return "silent beyond its keep-alive time"
        begun_at_s, within_s = self._begun_at_s, self._limits.packet_within_s
        if begun_at_s is not None and now_s - begun_at_s > within_s:
            return "a packet that does not come to its end"
        return None
