"""CPU time of processes on this machine, which varies less than wall time."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from db.pool import Connection

US_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class CpuClock:
    """Reads the CPU time of named processes, each with its descendants."""

    processes: Mapping[str, psutil.Process]

    def read_s(self) -> dict[str, float]:
        return {name: _cpu_s(process) for name, process in self.processes.items()}

    def since_us(self, before_s: Mapping[str, float], items: int) -> dict[str, float]:
        """Return microseconds of CPU time per item since `before_s`, by process."""
        now_s = self.read_s()
        return {name: (now_s[name] - before_s[name]) / items * US_PER_S for name in now_s}


def _cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of a process, its descendants, and children that have ended."""
    while True:
        try:
            family = (process, *process.children(recursive=True))
            return sum(sum(member.cpu_times()[:4]) for member in family)
        except psutil.NoSuchProcess:
            if not process.is_running():
                raise
            # A child ended meanwhile: its parent has its times now, so read again.


async def postgres(conn: Connection) -> dict[str, psutil.Process]:
    """Return the server of a connection; nothing if it runs on another machine."""
    backend_pid = await conn.fetchval("SELECT pg_backend_pid()")
    try:
        backend = psutil.Process(backend_pid)
        server = backend.parent() if "postgres" in backend.name() else None
    except psutil.NoSuchProcess:
        return {}
    return {"PostgreSQL": server} if server else {}
