"""Free TCP ports."""

import errno
import secrets
import socket

from core.settings import UpSettings, variable
from solarhub.errors import CommandError

# Below the range from which systems take ports for outgoing connections (Linux: 32,768), so that a
# port is not taken between `free` and the server's bind.
_FIRST, _BEYOND = 10_000, 32_000


def choose(settings: UpSettings, field: str, host: str) -> int:
    """Return the port of the setting `field`, or a free one if only the default is in use.

    Raises CommandError when a port that was set explicitly is in use.
    """
    port: int = getattr(settings, field)
    if is_free(host, port):
        return port
    if field in settings.model_fields_set:
        raise CommandError(f"port {port} is taken: free it, or set {variable(field)} to another")
    return free(host)


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections in TIME_WAIT from an earlier run do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise CommandError(f"cannot listen on {host}: {error.strerror}") from None
        return True


def free(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens now."""
    while not is_free(host, port := _FIRST + secrets.randbelow(_BEYOND - _FIRST)):
        pass
    return port
