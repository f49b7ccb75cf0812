"""From an order that found too little to a price on the feed."""

from contextlib import AsyncExitStack
from decimal import Decimal

from core.settings import DatabaseSettings, RedisSettings
from core.units import SLOT
from db.pool import Pool
from tests.api.conftest import code_of, data_of, serving
from tests.realtime.client import open_client
from tests.realtime.conftest import Parts
from tests.support import market
from tests.support.market import RULES, add_dynamic_listing, slot_after
from tests.support.people import add_user
from tests.support.turning import Clock, pricing_by


async def test_a_slot_turns_and_everyone_hears_the_new_price_and_pays_it(
    pool: Pool, database: DatabaseSettings, redis_settings: RedisSettings
) -> None:
    await market.not_at_the_end_of_a_slot()
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    listing_id = await add_dynamic_listing(pool, host, kwh=4, price_per_kwh=5)
    next_slot = await slot_after(pool)
    clock, parts = Clock(next_slot - SLOT), Parts(database, redis_settings)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(serving(database))
        await stack.enter_async_context(parts.relay())
        url = await stack.enter_async_context(parts.hub())
        await stack.enter_async_context(pricing_by(clock, pool, RULES))
        client = await stack.enter_async_context(open_client(url, buyer.id))
        await client.subscribe(f"listing:{listing_id}")

        order = {"listing_id": str(listing_id), "energy_kwh": 10, "max_price_per_kwh": 5}
        purchase = "/api/v1/marketplace/purchase"
        # Newcomers, each of whom counts for 1 kWh.
        for newcomer in [buyer, *[await add_user(pool, balance=1000) for _ in range(9)]]:
            refused = await api.call("POST", purchase, newcomer, json=order)
            assert code_of(refused) == "insufficient_energy"

        clock.at = next_slot
        event = await client.event()
        assert event["type"] == "listing.updated"
        # 4 kWh for 10: 3·8·10 / (5·4 + 3·10).
        assert event["data"]["price_per_kwh"] == "4.8000"
        bought = data_of(await api.call("POST", purchase, buyer, json=order | {"energy_kwh": 2}))
        assert Decimal(bought["total_price"]) == Decimal("9.60")
