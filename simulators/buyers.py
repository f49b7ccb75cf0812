"""People who buy: they sign in, top up, listen on the feed, look around, and buy what they see."""

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

from core.events import EventType
from core.feed import FeedEvent, Subscription
from core.units import KWH
from simulators import private_json
from simulators.feed import FeedClient
from simulators.gather_or_raise import gather_or_raise
from simulators.hub_addresses import HubAddresses
from simulators.hub_client import (
    HubClient,
    HubRefusal,
    HubSession,
    UserAccount,
    invent_account,
    open_hub,
)
from simulators.places import LOCALITIES, near

_TOP_UP_INR = "500.00"
_LEAST_KWH = Decimal("0.1")  # the hub sells less than that only if it is all there is
_CRUMB_KWH = Decimal("0.002")  # some paise at any price here
_CRUMBS_TAKEN = 0.25
_MOST_KWH = 1.0
_LATENCIES_KEPT = 10_000
_UNSEEN_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class BuyersPlan:
    """`rate_hz`: purchases that are tried per second, by all of them together."""

    count: int
    rate_hz: float
    duration_s: float | None = None
    radius_km: float = 5.0
    seed: int = 1


@dataclass(slots=True)
class BuyersTally:
    """What the buyers have done so far; its owner may read it at any time.

    `latencies_s`: from sending an order to seeing it on the buyer's own feed, the newest of them.
    """

    signed_in: int = 0
    purchases: int = 0
    energy_kwh: Decimal = Decimal(0)
    spent_inr: Decimal = Decimal(0)
    nothing_on_offer: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    events: int = 0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))


async def run(plan: BuyersPlan, hub: HubAddresses, remembered_in: Path, tally: BuyersTally) -> None:
    """Sign everyone in, then let them buy until the time is up or it is cancelled.

    Raises HubError when the hub does not take them.
    """
    async with open_hub(hub.api_url) as client:
        sessions = await _sign_in(client, plan, remembered_in)
        tally.signed_in = len(sessions)
        feed_url = hub.feed_url or (await client.call("GET", "realtime"))["url"]
        try:
            async with asyncio.timeout(plan.duration_s) as limit, asyncio.TaskGroup() as tasks:
                for number, session in enumerate(sessions):
                    buyer = _Buyer(session, plan, Random(f"{plan.seed}:{number}"), tally)
                    tasks.create_task(buyer.run(feed_url))
        except TimeoutError:
            if not limit.expired():
                raise


async def _sign_in(client: HubClient, plan: BuyersPlan, remembered_in: Path) -> list[HubSession]:
    """Who is remembered signs in, the others register; all are remembered then."""
    known = [UserAccount(**account) for account in private_json.read(remembered_in) or []]
    try:
        sessions = await gather_or_raise(
            HubSession.sign_in(client, account) for account in known[: plan.count]
        )
    except HubRefusal as refusal:
        if refusal.status != 401:
            raise
        known, sessions = [], []  # another hub, or the same with an empty database
    fresh = [invent_account(f"Buyer {n + 1}", "buyer") for n in range(len(known), plan.count)]
    sessions += await gather_or_raise(HubSession.register(client, account) for account in fresh)
    private_json.write(remembered_in, [asdict(account) for account in known + fresh])
    return sessions


class _Buyer:
    """One person, who tries to buy at random moments."""

    def __init__(
        self, session: HubSession, plan: BuyersPlan, chance: Random, tally: BuyersTally
    ) -> None:
        self._session = session
        self._pause_mean_s = plan.count / plan.rate_hz
        self._radius_km = plan.radius_km
        self._chance = chance
        self._tally = tally
        self._payment_method_id = ""
        self._sightings = _Sightings(tally)
        self._has_bought = False

    async def run(self, feed_url: str) -> None:
        await self._settle()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(feed_url))
            tasks.create_task(self._shop())

    async def _listen(self, feed_url: str) -> None:
        channels = (Subscription("listings"), Subscription("user"))
        feed = FeedClient(feed_url, channels, token=self._session.token, chance=self._chance)
        async with aclosing(feed.events()) as events:
            async for event in events:
                if isinstance(event, FeedEvent):
                    self._tally.events += 1
                    if event.type == EventType.PURCHASE_COMPLETED:
                        self._sightings.seen(event.data["id"])

    async def _settle(self) -> None:
        home = near(self._chance.choice(LOCALITIES), self._chance)
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
            await asyncio.sleep(self._chance.expovariate(1 / self._pause_mean_s))
            offer = self._choose(await self._offers())
            if offer is None:
                self._tally.nothing_on_offer += 1
                continue
            try:
                await self._buy(offer)
                self._has_bought = True
            except HubRefusal as refusal:
                self._tally.refused[refusal.code] += 1
                if refusal.code == "insufficient_balance":
                    await self._top_up()

    async def _offers(self) -> list[dict[str, Any]]:
        found = await self._session.get(
            "location/nearby-listings", radius_km=self._radius_km, min_kwh=str(_CRUMB_KWH)
        )
        offers: list[dict[str, Any]] = found["items"]
        return offers

    def _choose(self, offers: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """One that is worth it. Where there are only rests, they are mostly left to grow."""
        worth_it = [o for o in offers if Decimal(o["energy_amount_kwh"]) >= _LEAST_KWH]
        patient = self._has_bought and self._chance.random() >= _CRUMBS_TAKEN
        candidates = worth_it or ([] if patient else offers)
        return self._chance.choice(candidates) if candidates else None

    async def _buy(self, offer: Mapping[str, Any]) -> None:
        order = {
            "listing_id": offer["id"],
            "energy_kwh": str(self._wanted_kwh(Decimal(offer["energy_amount_kwh"]))),
            "max_price_per_kwh": offer["price_per_kwh"],
        }
        sent_at = monotonic()
        bought = await self._session.post(
            "marketplace/purchase", order, idempotency_key=str(uuid4())
        )
        self._sightings.ordered(bought["id"], sent_at)
        self._tally.purchases += 1
        self._tally.energy_kwh += Decimal(bought["energy_kwh"])
        self._tally.spent_inr += Decimal(bought["total_price"])

    def _wanted_kwh(self, left_kwh: Decimal) -> Decimal:
        """Some of what is left, but never all that a home could use in a day; a rest is whole."""
        share = Decimal(self._chance.uniform(0.2, 1.0))
        wanted = min(left_kwh * share, Decimal(self._chance.uniform(0.1, _MOST_KWH)))
        return min(max(wanted.quantize(KWH, ROUND_FLOOR), _LEAST_KWH), left_kwh)


class _Sightings:
    """Brings together orders and their events, whichever is known first."""

    def __init__(self, tally: BuyersTally) -> None:
        self._tally = tally
        self._sent_at: dict[str, float] = {}
        self._seen_at: dict[str, float] = {}

    def ordered(self, transaction_id: str, sent_at: float) -> None:
        self._sent_at[transaction_id] = sent_at
        self._match(transaction_id)

    def seen(self, transaction_id: str) -> None:
        self._seen_at.setdefault(transaction_id, monotonic())
        self._match(transaction_id)

    def _match(self, transaction_id: str) -> None:
        if transaction_id in self._sent_at and transaction_id in self._seen_at:
            took_s = self._seen_at.pop(transaction_id) - self._sent_at.pop(transaction_id)
            self._tally.latencies_s.append(took_s)
        for unmatched in (self._sent_at, self._seen_at):
            while len(unmatched) > _UNSEEN_KEPT:
                del unmatched[next(iter(unmatched))]
