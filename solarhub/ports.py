"""Ports that nobody listens on."""

import errno
import socket

from core.settings import UpSettings, variable
from solarhub.errors import HubError


def choose(settings: UpSettings, field: str, host: str) -> int:
    """The port that is set; a free one where the default is taken. Raises HubError."""
    port: int = getattr(settings, field)
    if is_free(host, port):
        return port
    if field in settings.model_fields_set:
        raise HubError(f"port {port} is taken: free it, or set {variable(field)} to another")
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
            raise HubError(f"can't listen on {host}: {error.strerror}") from None
        return True


def free(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
