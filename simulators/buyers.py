"""Simulated buyers: they sign in, top up, follow the feed, and buy from neighbours."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any
from uuid import uuid4

from core.clock import REAL_TIME, Clock
from core.events import EventType
from core.feed import FeedEvent, Subscription
from core.units import KWH
from simulators import private_json
from simulators.feed import FeedClient
from simulators.gather_or_raise import gather_or_raise
from simulators.household import bump
from simulators.hub_client import (
    HubAddresses,
    HubClient,
    HubRefusal,
    HubSession,
    UserAccount,
    invent_account,
    open_hub,
)
from simulators.places import LOCALITIES, near
from simulators.sun import local_hour

_TOP_UP_INR = "500.00"
# The smallest purchase; the hub sells less only if it is all that a listing has left.
_PURCHASE_MIN_KWH = Decimal("0.1")
# The smallest remainder worth buying: a few paise at any price of the simulation.
_REMAINDER_MIN_KWH = Decimal("0.002")
# Purchases are mostly small: their sizes are spread evenly over orders of magnitude.
# The largest one, as a multiple of the smallest.
_PURCHASE_SIZES = 50.0
# How often a buyer takes a remainder when there is nothing larger.
_REMAINDER_PART = 0.25
_LATENCIES_KEPT = 10_000
_UNMATCHED_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class BuyersPlan:
    """Parameters of a run of buyers, reproducible from a seed."""

    count: int
    # Attempted purchases per second of all buyers together.
    rate_hz: float
    duration_s: float | None = None
    radius_km: float = 5.0
    seed: int = 1
    # Buy as a household needs energy: little at night, most at noon and in the evening.
    has_routine: bool = False


@dataclass(slots=True)
class BuyersTally:
    """Counts of what the buyers have done so far; the owner may read it at any time."""

    signed_in: int = 0
    purchases: int = 0
    energy_kwh: Decimal = Decimal(0)
    spent_inr: Decimal = Decimal(0)
    no_listing: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    events: int = 0
    # From sending an order to its event on the buyer's own feed; the newest ones.
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))


async def run(
    plan: BuyersPlan,
    hub: HubAddresses,
    accounts_file: Path,
    tally: BuyersTally,
    clock: Clock = REAL_TIME,
) -> None:
    """Sign all buyers in, then let them buy until the time is up or it is cancelled.

    Raises HubClientError.
    """
    async with open_hub(hub.api_url) as client:
        sessions = await _sign_in(client, plan, accounts_file)
        tally.signed_in = len(sessions)
        feed_url = hub.feed_url or (await client.call("GET", "realtime"))["url"]
        try:
            async with asyncio.timeout(plan.duration_s) as limit, asyncio.TaskGroup() as tasks:
                for number, session in enumerate(sessions):
                    rng = Random(f"{plan.seed}:{number}")
                    buyer = _Buyer(session, plan, rng, tally, clock)
                    tasks.create_task(buyer.run(feed_url))
        except TimeoutError:
            if not limit.expired():
                raise


async def _sign_in(client: HubClient, plan: BuyersPlan, accounts_file: Path) -> list[HubSession]:
    """Sign in stored accounts, register new ones up to `plan.count`, and store all of them."""
    stored = [UserAccount(**account) for account in private_json.read(accounts_file) or []]
    try:
        sessions = await gather_or_raise(
            HubSession.sign_in(client, account) for account in stored[: plan.count]
        )
    except HubRefusal as refusal:
        if refusal.status != 401:
            raise
        # This is another hub, or its database was emptied.
        stored, sessions = [], []
    new = [invent_account(f"Buyer {n + 1}", "buyer") for n in range(len(stored), plan.count)]
    sessions += await gather_or_raise(HubSession.register(client, account) for account in new)
    private_json.write(accounts_file, [asdict(account) for account in stored + new])
    return sessions


class _Buyer:
    """One buyer, who tries to buy at random moments."""

    def __init__(
        self,
        session: HubSession,
        plan: BuyersPlan,
        rng: Random,
        tally: BuyersTally,
        clock: Clock,
    ) -> None:
        self._session = session
        self._pause_mean_s = plan.count / plan.rate_hz
        self._radius_km = plan.radius_km
        self._has_routine = plan.has_routine
        self._clock = clock
        self._rng = rng
        self._tally = tally
        self._payment_method_id = ""
        self._latencies = _OrderLatencies(tally)
        self._has_bought = False

    async def run(self, feed_url: str) -> None:
        await self._set_up()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_feed(feed_url))
            tasks.create_task(self._shop())

    async def _follow_feed(self, feed_url: str) -> None:
        channels = (Subscription("listings"), Subscription("user"))
        feed = FeedClient(feed_url, channels, token=self._session.token, rng=self._rng)
        async with aclosing(feed.events()) as events:
            async for event in events:
                if isinstance(event, FeedEvent):
                    self._tally.events += 1
                    if event.type == EventType.PURCHASE_COMPLETED:
                        self._latencies.event_received(event.data["id"])

    async def _set_up(self) -> None:
        home = near(self._rng.choice(LOCALITIES), self._rng)
        place = {"latitude": home.latitude, "longitude": home.longitude, "label": home.name}
        await self._session.put("location/update", place)
        methods = (await self._session.get("payment-methods"))["items"]
        if not methods:
            body = {
                "kind": "upi",
                "label": "UPI",
                "provider_ref": f"token-{uuid4().hex}",
            }
            methods = [await self._session.post("payment-methods", body)]
        self._payment_method_id = methods[0]["id"]
        await self._top_up()

    async def _top_up(self) -> None:
        body = {"amount": _TOP_UP_INR, "payment_method_id": self._payment_method_id}
        await self._session.post("wallet/topups", body, idempotency_key=str(uuid4()))

    async def _shop(self) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(self._attempts_hz()))
            listing = self._choose(await self._nearby_listings())
            if listing is None:
                self._tally.no_listing += 1
                continue
            try:
                await self._buy(listing)
                self._has_bought = True
            except HubRefusal as refusal:
                self._tally.refused[refusal.code] += 1
                if refusal.code == "insufficient_balance":
                    await self._top_up()

    def _attempts_hz(self) -> float:
        usual_hz = 1 / self._pause_mean_s
        if not self._has_routine:
            return usual_hz
        return usual_hz * appetite(local_hour(self._clock.now()))

    async def _nearby_listings(self) -> list[dict[str, Any]]:
        found = await self._session.get(
            "location/nearby-listings", radius_km=self._radius_km, min_kwh=str(_REMAINDER_MIN_KWH)
        )
        listings: list[dict[str, Any]] = found["items"]
        return listings

    def _choose(self, listings: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Choose a listing. Listings below the minimum are mostly left alone, so that they grow."""
        large_enough = [
            one for one in listings if Decimal(one["energy_amount_kwh"]) >= _PURCHASE_MIN_KWH
        ]
        waits = self._has_bought and self._rng.random() >= _REMAINDER_PART
        candidates = large_enough or ([] if waits else listings)
        return self._rng.choice(candidates) if candidates else None

    async def _buy(self, listing: Mapping[str, Any]) -> None:
        order = {
            "listing_id": listing["id"],
            "energy_kwh": str(self._wanted_kwh(Decimal(listing["energy_amount_kwh"]))),
            "max_price_per_kwh": listing["price_per_kwh"],
        }
        sent_at = monotonic()
        bought = await self._session.post(
            "marketplace/purchase", order, idempotency_key=str(uuid4())
        )
        self._latencies.ordered(bought["id"], sent_at)
        self._tally.purchases += 1
        self._tally.energy_kwh += Decimal(bought["energy_kwh"])
        self._tally.spent_inr += Decimal(bought["total_price"])

    def _wanted_kwh(self, left_kwh: Decimal) -> Decimal:
        """Return a random part of what is left, at most 5 kWh; all of a remainder."""
        share = Decimal(self._rng.uniform(0.2, 1.0))
        size = _PURCHASE_MIN_KWH * Decimal(_PURCHASE_SIZES ** self._rng.random())
        wanted = min(left_kwh * share, size)
        return min(max(wanted.quantize(KWH, ROUND_FLOOR), _PURCHASE_MIN_KWH), left_kwh)


def appetite(hour: float) -> float:
    """Return how much households buy at an hour of the day, 1 being usual."""
    return 0.25 + 0.9 * bump(hour, 12.5, 4) + 1.2 * bump(hour, 19.5, 2.5)


class _OrderLatencies:
    """Matches orders with their events, in whichever order they arrive, and records latencies."""

    def __init__(self, tally: BuyersTally) -> None:
        self._tally = tally
        self._sent_at: dict[str, float] = {}
        self._received_at: dict[str, float] = {}

    def ordered(self, transaction_id: str, sent_at: float) -> None:
        self._sent_at[transaction_id] = sent_at
        self._match(transaction_id)

    def event_received(self, transaction_id: str) -> None:
        self._received_at.setdefault(transaction_id, monotonic())
        self._match(transaction_id)

    def _match(self, transaction_id: str) -> None:
        if transaction_id in self._sent_at and transaction_id in self._received_at:
            latency_s = self._received_at.pop(transaction_id) - self._sent_at.pop(transaction_id)
            self._tally.latencies_s.append(latency_s)
        for unmatched in (self._sent_at, self._received_at):
            while len(unmatched) > _UNMATCHED_KEPT:
                del unmatched[next(iter(unmatched))]
