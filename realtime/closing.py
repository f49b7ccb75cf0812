"""Why a client is sent away."""

from enum import IntEnum


class CloseCode(IntEnum):
    GOING_AWAY = 1001
    BAD_FRAME = 4400
    AUTH = 4401
    SLOW = 4408
    TOO_MANY_CONNECTIONS = 4429
    HUB_UNWELL = 4500


class Closing(Exception):
    """This client is to be closed."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)
