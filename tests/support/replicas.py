"""A PostgreSQL and a streaming replica of it, made by pg_basebackup."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import asyncpg
import psutil

from solarhub import embedded
from solarhub.child import with_parent_death_signal
from tests.support import databases, processes
from tests.support.databases import url_of

# The replay of the log waits for no query.
_SETTINGS = "max_standby_streaming_delay = 0\n"


class Replica:
    """A hot standby that tests kill, freeze and delay."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: ExitStack | None = None
        self.url = ""

    def start(self) -> None:
        self._running = ExitStack()
        server = self._running.enter_context(databases.postgres(self._directory, durable=False))
        self.url, self._process = server.url, psutil.Process(server.child.pid)

    def kill(self) -> None:
        """Kill the replica with all its processes."""
        for process in (*self._process.children(recursive=True), self._process):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(Signals.SIGKILL)
        self.stop()

    def stop(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the replica: the system accepts connections, and nothing responds."""
        with processes.frozen(self._process):
            yield

    async def hold_up(self) -> None:
        """Pause the replay: the replica receives the log and shows nothing of it."""
        await self._execute("SELECT pg_wal_replay_pause()")

    async def go_on(self) -> None:
        await self._execute("SELECT pg_wal_replay_resume()")

    async def _execute(self, statement: str) -> None:
        conn = await asyncpg.connect(self.url)
        try:
            await conn.execute(statement)
        finally:
            await conn.close()


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its replica. `primary_url` is that of its first database."""

    primary_url: str
    replica: Replica

    def replica_url(self, database_url: str) -> str:
        """Return the replica's URL of a database of the primary."""
        name = database_url.split("://", 1)[1].split("/", 1)[1].split("?")[0]
        return url_of(self.replica.url, name)


@contextmanager
def pair(directory: Path) -> Iterator[Pair]:
    """Run both until the block ends. The primary is durable."""
    with databases.postgres(directory / "primary") as primary:
        _copy(primary.url, directory / "replica")
        replica = Replica(directory / "replica")
        replica.start()
        try:
            yield Pair(primary.url, replica)
        finally:
            replica.stop()


def _copy(url: str, directory: Path) -> None:
    owner = embedded._postgres_owner(directory)
    directory.mkdir(mode=0o700)
    if owner:
        os.chown(directory, owner.uid, owner.gid)
    program = str(databases.programs() / "pg_basebackup")
    command = [program, "-d", url, "-D", str(directory), "-R", "--checkpoint=fast", "--no-sync"]
    made = subprocess.run(
        with_parent_death_signal(command, owner),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert made.returncode == 0, made.stderr
    for lock in directory.glob(".s.PGSQL.*.lock"):
        lock.unlink()
    with (directory / "postgresql.auto.conf").open("a") as settings:
        settings.write(_SETTINGS)
