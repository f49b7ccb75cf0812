"""A Redis Cluster of three local nodes, from the same wheel as the embedded server."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from solarhub import embedded
from solarhub.child import ChildProcess
from tests.support.ports import free
from tests.support.waiting import eventually

NODES = 3
SLOTS = 16_384
WELL_WITHIN_S = 30
NODE_TIMEOUT_MS = 2000


class Node:
    """A node of the cluster. Only its view of the cluster stays in its directory when it ends."""

    def __init__(self, directory: Path) -> None:
        self.port, self._bus_port = free(), free()
        self._directory = directory
        self._child: ChildProcess | None = None

    def start(self) -> None:
        self._directory.mkdir(exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "cluster-enabled": "yes",
            "cluster-port": self._bus_port,
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            "dir": self._directory,
            "save": "",
        }
        arguments = [str(part) for k, v in options.items() for part in (f"--{k}", v)]
        self._child = ChildProcess(
            "Valkey",
            [str(embedded.valkey_program()), *arguments],
            log=self._directory / "valkey.log",
            stop_signals=(Signals.SIGKILL,),
        )
        self._child.wait_until(self._answers)

    def stop(self) -> None:
        """Kill the node."""
        assert self._child is not None
        self._child.stop()

    def _answers(self) -> bool:
        with contextlib.suppress(RedisError):
            return bool(self.ask("PING"))
        return False

    def ask(self, *command: str | int) -> Any:
        with Redis(port=self.port, protocol=2) as redis:
            return redis.execute_command(*command)

    def meet(self, other: "Node") -> None:
        self.ask("CLUSTER MEET", "127.0.0.1", other.port, other._bus_port)

    def give_slots(self, first: int, last: int, other: "Node") -> None:
        """Move slots with their keys to another node."""
        its_id = other.ask("CLUSTER MYID").decode()
        self.ask("CLUSTER MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", its_id)

    def is_well(self) -> bool:
        """Return True if the node knows all nodes, and all slots have a node."""
        info = self.ask("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_size"]) == NODES


@dataclass(frozen=True, slots=True)
class Cluster:
    nodes: list[Node]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def well(self) -> None:
        """Wait until all nodes report a complete cluster."""
        await eventually(lambda: all(node.is_well() for node in self.nodes), within_s=WELL_WITHIN_S)

    def node_of(self, slot: int) -> Node:
        """Return the node of a slot, if no slot was moved."""
        return self.nodes[slot * NODES // SLOTS]

    def flush(self) -> None:
        for node in self.nodes:
            node.ask("FLUSHALL")


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Run three nodes, each with a third of the slots."""
    with ExitStack() as stack:
        nodes = [Node(directory / str(n)) for n in range(NODES)]
        for n, node in enumerate(nodes):
            node.start()
            stack.callback(node.stop)
            last = -(-SLOTS * (n + 1) // NODES) - 1
            node.ask("CLUSTER ADDSLOTSRANGE", -(-SLOTS * n // NODES), last)
        for other in nodes[1:]:
            nodes[0].meet(other)
        made = Cluster(nodes)
        asyncio.run(made.well())
        yield made
