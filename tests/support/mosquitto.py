"""A real Mosquitto that keeps what is queued, to be killed and started again."""

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import socket
from pathlib import Path

from solarhub.child import Child
from solarhub.ports import free

# Above what an ingester holds unacknowledged.
INFLIGHT_MAX = 4000

_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {directory}/
autosave_interval 1
max_inflight_messages {inflight_max}
max_queued_messages 0
max_queued_bytes 0
set_tcp_nodelay true
log_dest stderr
"""


def find() -> str | None:
    """Where it is installed; Debian puts it where only root's PATH leads."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    def __init__(self, program: str, directory: Path) -> None:
        self.port = free()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._program = program
        self._config = directory / "mosquitto.conf"
        self._log = directory / "mosquitto.log"
        self._config.write_text(
            _CONFIG.format(
                port=self.port, user=getpass.getuser(), directory=directory,
                inflight_max=INFLIGHT_MAX,
            )
        )  # fmt: skip
        self._child: Child | None = None

    def start(self) -> None:
        """Start it on the same port, with what it kept."""
        command = [self._program, "-c", str(self._config)]
        self._child = Child("Mosquitto", command, log=self._log, stop_signals=[signal.SIGTERM])
        self._child.wait_until(self._listens)

    def stop(self) -> None:
        """End it in peace: everything is kept."""
        if self._child is not None:
            self._child.stop()

    def saved(self) -> bytes:
        """What it would have after a kill: it saves a moment after it acknowledges."""
        file = self._config.with_name("mosquitto.db")
        return file.read_bytes() if file.exists() else b""

    def kill(self) -> None:
        """End it at once: what is not `saved` yet is lost."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.stop()

    async def crash(self, *, away_s: float = 0) -> None:
        """Kill it, and start it again after a while."""
        self.kill()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self.start)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False
