"""How fast a connection is read: what comes faster waits in its socket. Pure."""


class PublishPace:
    """So many messages and bytes a second; what was not used of the last second may be, too."""

    def __init__(self, *, messages_per_s: int, bytes_per_s: int, now_s: float) -> None:
        self._rates = (messages_per_s, bytes_per_s)
        self._left = [float(messages_per_s), float(bytes_per_s)]
        self._at_s = now_s

    def wait_s(self, messages: int, size_bytes: int, now_s: float) -> float:
        """Count what was read; returns for how long nothing more is to be read."""
        passed_s, self._at_s = now_s - self._at_s, now_s
        wait_s = 0.0
        for n, (rate, used) in enumerate(zip(self._rates, (messages, size_bytes), strict=True)):
            self._left[n] = min(rate, self._left[n] + passed_s * rate) - used
            wait_s = max(wait_s, -self._left[n] / rate)
        return wait_s
