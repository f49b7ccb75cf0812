"""The load of the purchase cases: orders by signed-in buyers, sent by wrk."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from bench.options import Options
from bench.processes import BenchError, output_of, program
from bench.result import Sample
from core import tokens

PATH = "/api/v1/marketplace/purchase"
_SIGNED_IN_FOR = timedelta(hours=1)
_SCRIPT = Path(__file__).parent / "purchase.lua"
_MARGIN_S = 30


def write_orders(path: Path, orders: Iterable[tuple[UUID, UUID]], jwt_secret: str) -> None:
    """One line per (buyer, listing), as `purchase.lua` reads them."""
    with path.open("w") as file:
        file.writelines(f"{_token(jwt_secret, buyer)} {listing}\n" for buyer, listing in orders)


def _token(jwt_secret: str, buyer: UUID) -> str:
    return tokens.sign(
        jwt_secret,
        user_id=buyer,
        email=f"{buyer}@bench.test",
        role="buyer",
        now=datetime.now(UTC),
        ttl=_SIGNED_IN_FOR,
    )


async def send(options: Options, port: int, orders: Path, seconds: int) -> Sample:
    """Keep every connection busy for so long. Raises BenchError unless each order succeeded."""
    said = await output_of(
        *(program("wrk"), "-t1", f"-c{options.connections}", f"-d{seconds}s", "--timeout", "10s"),
        *("-s", str(_SCRIPT), f"http://127.0.0.1:{port}{PATH}"),
        *("--", str(orders), uuid4().hex),
        within_s=seconds + _MARGIN_S,
    )
    figures = json.loads(said.splitlines()[-1])
    if figures["refused"] or figures["broken"] or not figures["answers"]:
        raise BenchError(f"not every purchase succeeded: {figures}")
    return Sample(figures["answers"] / figures["seconds"], figures["p50_ms"], figures["p99_ms"])
