"""Load on HTTP, sent by wrk: orders by signed-in buyers, and paths that one of them looks at."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from bench.options import Options
from bench.processes import BenchError, output_of, program
from bench.result import Sample
from core import tokens
from core.enums import UserRole
from core.ids import ListingId, UserId

PATH = "/api/v1/marketplace/purchase"
_SIGNED_IN_FOR = timedelta(hours=1)
_SCRIPTS = Path(__file__).parent
_MARGIN_S = 30


def write_orders(path: Path, orders: Iterable[tuple[UserId, ListingId]], jwt_secret: str) -> None:
    """One line per (buyer, listing), as `purchase.lua` reads them."""
    with path.open("w") as file:
        file.writelines(f"{token_of(jwt_secret, buyer)} {listing}\n" for buyer, listing in orders)


def token_of(jwt_secret: str, buyer: UserId) -> str:
    return tokens.sign(
        jwt_secret,
        user_id=buyer,
        email=f"{buyer}@bench.test",
        role=UserRole.BUYER,
        now=datetime.now(UTC),
        ttl=_SIGNED_IN_FOR,
    )


async def send(options: Options, port: int, orders: Path, seconds: int) -> Sample:
    """Keep every connection busy for so long. Raises BenchError unless each order succeeded."""
    url = f"http://127.0.0.1:{port}{PATH}"
    return await _wrk(options, "purchase.lua", url, str(orders), uuid4().hex, seconds=seconds)


async def browse(options: Options, port: int, paths: Path, buyer: UserId, seconds: int) -> Sample:
    """Let every connection ask for the paths of a file. Raises BenchError unless all answered."""
    url, token = f"http://127.0.0.1:{port}", token_of(options.jwt_secret, buyer)
    return await _wrk(options, "browse.lua", url, str(paths), token, seconds=seconds)


async def _wrk(options: Options, script: str, url: str, *arguments: str, seconds: int) -> Sample:
    said = await output_of(
        *(program("wrk"), "-t1", f"-c{options.connections}", f"-d{seconds}s", "--timeout", "10s"),
        *("-s", str(_SCRIPTS / script), url, "--", *arguments),
        within_s=seconds + _MARGIN_S,
    )
    figures = json.loads(said.splitlines()[-1])
    if figures["refused"] or figures["broken"] or not figures["answers"]:
        raise BenchError(f"not every request succeeded: {figures}")
    return Sample(figures["answers"] / figures["seconds"], figures["p50_ms"], figures["p99_ms"])
