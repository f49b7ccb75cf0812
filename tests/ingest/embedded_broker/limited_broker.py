"""An embedded broker with low limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db.pool import Pool
from ingest.embedded_broker.limits import BrokerLimits
from solarhub import embedded
from tests.conftest import Broker
from tests.support.ports import free


@asynccontextmanager
async def limited(pool: Pool, *, hub_first: bool = False, **limits: float) -> AsyncIterator[Broker]:
    """Run a broker with these limits, which checks deadlines often."""
    broker = Broker(free(), "hub-password")
    broker_limits = BrokerLimits(sweep_every_s=0.05, **limits)  # type: ignore[arg-type]
    async with embedded.broker(
        pool,
        port=broker.port,
        hub_password=broker.hub_password,
        hub_first=hub_first,
        limits=broker_limits,
    ):
        yield broker
