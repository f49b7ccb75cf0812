"""A real Mosquitto with persistent queues, which tests kill and start again.

One lets everybody in; the other is what `deploy/mosquitto` makes of it.
"""

import asyncio
import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
from pathlib import Path

import trustme

from solarhub.child import ChildProcess
from tests.support.ports import free

HUB_PASSWORD = "hub-password"

_DEPLOY = Path(__file__).parents[2] / "deploy/mosquitto"

AUTOSAVE_S = 10  # as it ships

# More than an ingester has unacknowledged.
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
    """Return the path of the program; Debian installs it outside the PATH of users."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def find_plugin(program: str) -> str | None:
    """Return the path of that Mosquitto's dynamic-security plugin."""
    beside = Path(program).parents[1] / "lib"
    found = [
        p for d in (beside, Path("/usr/lib")) for p in d.rglob("mosquitto_dynamic_security.so")
    ]
    return str(found[0]) if found else None


class Mosquitto:
    def __init__(self, program: str, directory: Path) -> None:
        self.port = free()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.directory = directory
        self._program = program
        self._config = directory / "mosquitto.conf"
        self._log = directory / "mosquitto.log"
        self._config.write_text(self._configuration())
        self._child: ChildProcess | None = None

    def _configuration(self) -> str:
        return _CONFIG.format(
            port=self.port, user=getpass.getuser(), directory=self.directory,
            inflight_max=INFLIGHT_MAX,
        )  # fmt: skip

    def _command(self) -> list[str]:
        return [self._program, "-c", str(self._config)]

    def start(self) -> None:
        """Start it on the same port, with its saved state."""
        self._child = ChildProcess(
            "Mosquitto", self._command(), log=self._log, stop_signals=[signal.SIGTERM]
        )
        self._child.wait_until(self._listens)

    def stop(self) -> None:
        """Stop it after it has saved its state."""
        if self._child is not None:
            self._child.stop()

    def saved(self) -> bytes:
        """Return the state that survives a kill: it saves a moment after it acknowledges."""
        file = self._config.with_name("mosquitto.db")
        return file.read_bytes() if file.exists() else b""

    def save(self) -> None:
        """Make it save its current state."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """Kill it: changes since the last save are lost."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.stop()

    async def crash(self, *, away_s: float = 0) -> None:
        """Kill it, and start it again after a while."""
        self.kill()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self.start)

    def _listens(self) -> bool:
        return _is_open(self.port)


class SecuredMosquitto(Mosquitto):
    """As compose.yaml starts it: devices come to `port`, the hub by `url`, nobody else anywhere.

    `authority`: both by TLS, with a certificate from there. It saves each `autosave_s`, by itself
    more often than it ships.
    """

    def __init__(
        self,
        program: str,
        plugin: str,
        directory: Path,
        authority: trustme.CA | None = None,
        *,
        autosave_s: int = 1,
    ) -> None:
        self._plugin = plugin
        self._authority = authority
        self._autosave_s = autosave_s
        self._hub_port = free()
        super().__init__(program, directory)
        scheme = "mqtts" if authority else "mqtt"
        self.url = f"{scheme}://hub:{HUB_PASSWORD}@127.0.0.1:{self._hub_port}"

    def _listens(self) -> bool:
        # Mosquitto opens its listeners one after the other: the hub's may be the later one.
        return super()._listens() and _is_open(self._hub_port)

    def _configuration(self) -> str:
        config = (_DEPLOY / "mosquitto.conf").read_text()
        config, certificates = self._with_certificates(config) if self._authority else (config, "")
        devices = "listener 8883" if self._authority else "listener 1883"
        for ours, here in (
            ("/usr/lib/mosquitto_dynamic_security.so", self._plugin),
            (f"\n{devices}\n", f"\nuser {getpass.getuser()}\nlistener {self.port} 127.0.0.1\n"),
            ("\nlistener 1884\n", f"\nlistener {self._hub_port} 127.0.0.1\n{certificates}\n"),
            ("/mosquitto/data", str(self.directory)),
            (f"autosave_interval {AUTOSAVE_S}", f"autosave_interval {self._autosave_s}"),
        ):
            assert ours in config
            config = config.replace(ours, here)
        return config.replace("/mosquitto/certs", str(self.directory))

    def _with_certificates(self, config: str) -> tuple[str, str]:
        """Return the configuration with its TLS lines active, and the lines of another listener."""
        assert self._authority is not None
        certificate = self._authority.issue_cert("127.0.0.1")
        self._authority.cert_pem.write_to_path(self.directory / "ca.crt")
        certificate.private_key_pem.write_to_path(self.directory / "server.key")
        certificate.cert_chain_pems[0].write_to_path(self.directory / "server.crt")
        config = re.sub(r"\nlistener 1883\n.*\n", "\n", config)
        config = re.sub(r"\n# (?=listener|use_username|cafile|certfile|keyfile)", "\n", config)
        return config, "\n".join(re.findall(r"\n((?:certfile|keyfile) .*)", config))

    def _command(self) -> list[str]:
        environment = {
            "HUB_MQTT_PASSWORD": HUB_PASSWORD,
            "MOSQUITTO_DATA": str(self.directory),
            "MOSQUITTO_CONFIG": str(self._config),
            "PATH": f"{Path(self._program).parent}:{os.environ['PATH']}:/usr/sbin",
        }
        settings = [f"{name}={value}" for name, value in environment.items()]
        return ["/usr/bin/env", *settings, str(_DEPLOY / "start.sh")]

    def forget(self) -> None:
        """Delete every account but the hub's, and all queues. It is stopped meanwhile."""
        (self.directory / "dynamic-security.json").unlink()
        (self.directory / "mosquitto.db").unlink(missing_ok=True)


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
