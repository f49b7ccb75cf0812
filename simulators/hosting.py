"""What a host does at the hub: register a device, offer its surplus."""

from dataclasses import dataclass
from datetime import datetime

from core.dialects import Dialect
from core.units import rfc3339
from simulators.hub_addresses import BrokerAddress
from simulators.hub_client import HubRefusal, HubSession
from simulators.link import Credentials
from simulators.places import Locality


@dataclass(frozen=True, slots=True)
class Registered:
    """A device as the hub knows it, and where it is to publish."""

    credentials: Credentials
    broker: BrokerAddress


async def register_device(
    host: HubSession,
    *,
    name: str,
    kind: str,
    capacity_w: float,
    place: Locality,
    dialect: Dialect = Dialect.NATIVE,
    external_id: str | None = None,
) -> Registered:
    body: dict[str, object] = {
        "name": name,
        "kind": kind,
        "capacity_w": capacity_w,
        "latitude": place.latitude,
        "longitude": place.longitude,
        "dialect": dialect,
    }
    if external_id is not None:
        body["external_id"] = external_id
    device = await host.post("devices", body)
    mqtt = device["mqtt"]
    credentials = Credentials(mqtt["username"], mqtt["password"], dialect, external_id)
    return Registered(credentials, BrokerAddress(mqtt["host"], mqtt["port"]))


async def offer_surplus(
    host: HubSession,
    device_id: str,
    *,
    price_per_kwh: str,
    available_from: datetime,
    available_to: datetime,
) -> str | None:
    """Open a listing that follows the device's meter; None when one is open already."""
    body = {
        "device_id": device_id,
        "auto_adjust": True,
        "price_per_kwh": price_per_kwh,
        "available_from": rfc3339(available_from),
        "available_to": rfc3339(available_to),
    }
    try:
        listing = await host.post("marketplace/listings", body)
    except HubRefusal as refusal:
        if refusal.code == "open_listing_exists":
            return None
        raise
    return str(listing["id"])
