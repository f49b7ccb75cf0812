"""Query plans of PostgreSQL: the indexes, rows and pages that a statement uses."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from db.pool import Connection

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    root: Node

    def nodes(self) -> Iterator[Node]:
        return _nodes(self.root)

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node}

    @property
    def scanned(self) -> set[str]:
        """The tables that are scanned sequentially."""
        return {n["Relation Name"] for n in self.nodes() if n["Node Type"] == "Seq Scan"}

    @property
    def buffers(self) -> int:
        """The number of pages read, from memory or disk."""
        return int(self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"])

    def rows_read(self, index: str) -> float:
        """Return the number of rows read by an index, before filters."""
        [node] = [node for node in self.nodes() if node.get("Index Name") == index]
        return float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))


async def run(conn: Connection, statement: str, *args: object, mode: str) -> Plan:
    """Run a statement as a prepared one; `mode`: `force_generic_plan` or `force_custom_plan`."""
    texts = [None if arg is None else str(arg) for arg in args]
    values = await conn.fetchval(
        "SELECT string_agg(quote_nullable(v), ', ' ORDER BY n)"
        " FROM unnest($1::text[]) WITH ORDINALITY AS arg (v, n)",
        texts,
    )
    await conn.execute(f"SET plan_cache_mode = {mode}; PREPARE asked AS {statement}")
    try:
        explained = await conn.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked ({values})"
        )
    finally:
        await conn.execute("DEALLOCATE asked; RESET plan_cache_mode")
    return Plan(json.loads(explained)[0]["Plan"])


def _nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
