"""A hub whose clock is behind the real time: what goes by which of both."""

from datetime import datetime, timedelta

from core.clock import Clock, real_now
from core.settings import DatabaseSettings
from core.units import rfc3339
from db.clock import set_clock
from db.pool import open_connection, open_pool
from tests.api.conftest import code_of, data_of, serving
from tests.support.people import add_device, add_user

_LISTINGS = "/api/v1/marketplace/listings"
_PURCHASE = "/api/v1/marketplace/purchase"
_TOLERANCE = timedelta(minutes=1)


async def test_the_market_goes_by_the_hub_s_clock_and_sign_ins_by_the_real_time(
    database: DatabaseSettings,
) -> None:
    clock = Clock(real_now(), timedelta(days=28))
    async with open_connection(database, application_name="test") as conn:
        await set_clock(conn, clock)
    async with (
        open_pool(database, application_name="test", max_size=2) as pool,
        serving(database, clock=clock) as api,
    ):
        host, buyer = await add_user(pool, "host"), await add_user(pool, "buyer", balance=100)
        device_id = await add_device(pool, host)
        hub_now = clock.now()
        offered = {
            "energy_amount_kwh": "5",
            "price_per_kwh": "6",
            "latitude": 12.9,
            "longitude": 77.6,
        }
        open_now = await api.post(
            _LISTINGS, host, {**offered, **_window(hub_now - _TOLERANCE, hub_now + _TOLERANCE)}
        )
        not_yet = await api.post(
            _LISTINGS,
            host,
            {**offered, **_window(real_now() - _TOLERANCE, real_now() + _TOLERANCE)},
        )
        assert _is_about(open_now["created_at"], hub_now)
        bought = await api.post(_PURCHASE, buyer, {"listing_id": open_now["id"], "energy_kwh": "1"})
        assert _is_about(bought["created_at"], hub_now)
        refused = await api.call(
            "POST", _PURCHASE, buyer, json={"listing_id": not_yet["id"], "energy_kwh": "1"}
        )
        assert code_of(refused) == "outside_window"
        # The tokens of these calls are of the real time. The envelope has the hub's.
        answer = await api.call("GET", f"/api/v1/devices/{device_id}", host)
        assert data_of(answer)["id"] == str(device_id)
        assert _is_about(answer.json()["timestamp"], hub_now)


def _window(start: datetime, end: datetime) -> dict[str, str]:
    return {"available_from": rfc3339(start), "available_to": rfc3339(end)}


def _is_about(shown: str, at: datetime) -> bool:
    return abs(datetime.fromisoformat(shown) - at) < _TOLERANCE
