"""Only measured energy is sold, whatever meters, buyers, sellers and devices do."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from api.listings import service as listings_service
from core.enums import UserRole
from core.errors import DomainError
from core.listings import ListingPatch
from core.readings import Reading
from core.settings import DatabaseSettings
from core.tokens import Identity
from core.units import kwh_of_wh, slot_of
from db import purchases
from db.audit import audit
from db.pool import Pool, Record
from db.purchases import Purchase, PurchaseOrder
from ingest.writer import write
from tests.ingest.world import message, telemetry
from tests.support.people import Person, add_device, add_listing, add_user

START = slot_of(datetime.now(UTC)) - timedelta(hours=6)
HORIZON = timedelta(days=7)
SERVING = ("online", "pending")

# Values of the meter at some minutes, in any order: late readings correct earlier intervals, and
# small or falling values are resets, dips and night zeros.
readings = st.tuples(
    st.just("read"),
    st.integers(0, 300),
    st.sampled_from([0, 90, 900, 950, *range(1000, 1800, 50)]),
    st.sampled_from([None, 10.0, 90.0]),
)
orders = st.tuples(st.just("buy"), st.integers(1, 400))
statuses = st.tuples(st.just("say"), st.sampled_from(["online", "offline", "fault"]))
wishes = st.tuples(st.just("wish"), st.sampled_from(["paused", "active"]))
steps = st.lists(st.one_of(readings, readings, orders, statuses, wishes), max_size=25)

_SELLABLE = """
SELECT coalesce(sum(sellable_wh(quality, surplus_wh, 0)), 0)
  FROM energy_interval WHERE device_id = $1
"""
_STATE = "SELECT status, battery_soc_pct FROM device_states WHERE device_id = $1"
_LISTING = """
SELECT energy_amount_kwh, sold_kwh, stated_kwh, status, paused_by, reserve_soc_pct
  FROM energy_listings WHERE id = $1
"""


class Story:
    """A device, its listing, and a buyer."""

    def __init__(
        self, pool: Pool, host: Person, buyer: Person, device: UUID, listing: UUID
    ) -> None:
        self.pool = pool
        self.host = host
        self.buyer = buyer
        self.device = device
        self.listing = listing
        self.paused_by_seller = False

    @classmethod
    async def begin(cls, pool: Pool, stated: int, reserve_soc_pct: float | None) -> "Story":
        host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1_000_000)
        device = await add_device(pool, host)
        listing = await add_listing(
            pool, host, kwh=Decimal(stated).scaleb(-3), device_id=device, available_from=START
        )
        await pool.execute("UPDATE energy_listings SET reserve_soc_pct = $1", reserve_soc_pct)
        return cls(pool, host, buyer, device, listing)

    async def read(self, minute: int, wh: int, soc: float | None) -> None:
        at = START + timedelta(minutes=minute)
        one = Reading(at, energy_wh=float(wh), battery_soc_pct=soc)
        await write(self.pool, [telemetry(self.device, one)], HORIZON)

    async def say(self, word: str) -> None:
        await write(self.pool, [message(f"solar/{self.device}/status", word.encode())], HORIZON)

    async def buy(self, wh: int) -> None:
        """Buy energy, or be refused if there is not enough."""
        before = await self.pool.fetchrow(_LISTING, self.listing)
        order = PurchaseOrder(self.buyer.id, self.listing, Decimal(wh).scaleb(-3), None, None)
        assert before is not None
        can = before["status"] == "active" and before["energy_amount_kwh"] >= order.energy_kwh
        async with self.pool.acquire() as conn:
            [outcome] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
        assert isinstance(outcome, Purchase) is can
        if can:
            assert before["sold_kwh"] + order.energy_kwh <= await self.for_sale_kwh(before)

    async def wish(self, status: str) -> None:
        host = Identity(self.host.id, self.host.email, UserRole.HOST, datetime.now(UTC))
        try:
            await listings_service.change(
                self.pool, host, self.listing, ListingPatch(status=status)
            )
        except DomainError:
            return
        self.paused_by_seller = status == "paused"

    async def for_sale_kwh(self, listing: Record) -> Decimal:
        measured_wh = await self.pool.fetchval(_SELLABLE, self.device)
        return Decimal(listing["stated_kwh"] + kwh_of_wh(measured_wh))

    async def check(self) -> None:
        listing = await self.pool.fetchrow(_LISTING, self.listing)
        state = await self.pool.fetchrow(_STATE, self.device)
        assert listing is not None
        assert state is not None
        left_kwh, for_sale_kwh = listing["energy_amount_kwh"], await self.for_sale_kwh(listing)
        assert left_kwh == max(0, for_sale_kwh - listing["sold_kwh"])
        assert (listing["paused_by"] == "seller") == self.paused_by_seller
        charge, reserve = state["battery_soc_pct"], listing["reserve_soc_pct"]
        serves = state["status"] in SERVING and (
            charge is None or reserve is None or charge >= reserve
        )
        if listing["status"] == "active":
            assert serves
        if listing["paused_by"] == "device":
            assert not serves
        if listing["status"] == "sold":
            assert left_kwh == 0


@settings(max_examples=30)
@given(steps, st.integers(0, 300), st.sampled_from([None, 30.0]))
async def test_no_more_is_sold_than_measured_after_every_step(
    pool: Pool,
    database: DatabaseSettings,
    story: list[tuple[str, object]],
    stated: int,
    reserve: float | None,
) -> None:
    played = await Story.begin(pool, stated, reserve)
    for what, *how in story:
        await getattr(played, what)(*how)
        await played.check()
    async with pool.acquire() as conn:
        broken = [check async for check in audit(conn, database) if not check.ok]
    assert broken == []
