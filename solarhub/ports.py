"""Ports that nobody listens on."""

import errno
import secrets
import socket

from core.settings import UpSettings, variable
from solarhub.errors import CommandError

_FIRST, _BEYOND = 10_000, 32_000


def choose(settings: UpSettings, field: str, host: str) -> int:
    """The port that is set; a free one where the default is taken. Raises HubError."""
    port: int = getattr(settings, field)
    if is_free(host, port):
        return port
    if field in settings.model_fields_set:
        raise CommandError(f"port {port} is taken: free it, or set {variable(field)} to another")
    return free(host)


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # What servers do too: connections that linger from an earlier run are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise CommandError(f"can't listen on {host}: {error.strerror}") from None
        return True


def free(host: str = "127.0.0.1") -> int:
    """A port for somebody to listen on later.

    Not one of those that the system gives to outgoing connections: it may do so until then.
    """
    while not is_free(host, port := _FIRST + secrets.randbelow(_BEYOND - _FIRST)):
        pass
    return port
