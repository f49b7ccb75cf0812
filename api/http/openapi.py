"""What `/openapi.json` tells: every field described, and examples where tools look for them."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_TAGS = {
    "auth": "Accounts, signing in and out",
    "location": "Where the caller is, and what is near",
    "devices": "Devices and what they measured",
    "marketplace": "Energy on offer, bought and sold",
    "investments": "Devices funded, and what they earn",
    "wallet": "Money: balance, entries, in and out",
    "payments": "For payment providers",
    "admin": "For administrators",
    "health": "Whether it runs, and where the feed is",
}
_ABOUT = ("description", "examples")

# What a field means, wherever it stands without words of its own.
_TERMS = {
    "ack": "Topic on which the hub tells the device what it refused",
    "active": "Listings that sell now",
    "auto_adjust": "Whether it offers what its device measures",
    "available_from": "When it begins to sell",
    "available_to": "When it ends, and expires",
    "balance": "INR, 2 decimals",
    "battery_soc_pct": "State of charge, 0–100 %",
    "buyer_id": "Who bought; null: gone since",
    "capacity_w": "Peak power, W",
    "code": "Stable, for programs",
    "command": "Topic on which the device may be told what to do",
    "completed_at": "When the provider answered; null: not yet",
    "created_at": "When it was made",
    "currency": "ISO 4217: INR",
    "current_a": "A",
    "data": "What was asked for",
    "database": "Reached, at the right schema version",
    "details": "Which fields are wrong, and why",
    "device": "What measures it; null: nothing does",
    "device_id": "The device's id",
    "dialect": "What it speaks over MQTT",
    "error": "What went wrong",
    "email": "Address to sign in with; case does not matter",
    "finished_at": "When it was done",
    "external_id": "Its serial, id or topic name",
    "time_zone": "Where its clock is, if that does not say: a name of the tz database",
    "fault_code": "As the device reports it; null: no fault",
    "field": "Its name, as sent",
    "frequency_hz": "Hz",
    "full_name": "As others see it",
    "generated_wh": "Generated in the slot, Wh",
    "host": "Of the broker",
    "id": "Its id",
    "is_active": "false: locked out",
    "is_default": "Whether it is the one that counts when none is named",
    "items": "In order",
    "kind": "What kind it is of",
    "label": "The owner's name for it",
    "last_seen_at": "When it last said anything; null: never",
    "latitude": "WGS 84 degrees, north positive",
    "listing_id": "The listing's id",
    "load_w": "What the household draws, W",
    "longitude": "WGS 84 degrees, east positive",
    "message": "For a person",
    "mqtt": "How it signs in to the broker",
    "name": "The owner's name for it",
    "owner_id": "Its host",
    "password": "Never shown, never logged",
    "payment_method_id": "One of the caller's payment methods",
    "phone": "With its country code",
    "port": "Of the broker, TCP",
    "power_max_w": "Highest, W",
    "price_cap": "INR per kWh that a dynamic price does not rise above",
    "price_floor": "INR per kWh that a dynamic price does not fall below",
    "pricing": "`fixed`: as stated; `dynamic`: follows local supply and demand",
    "provider": "Who knows the token",
    "provider_ref": "The provider's token for it",
    "quality": "How it is known; `measured` and `interpolated` may be sold",
    "radius_km": "Great circle, km",
    "readings": "How many",
    "reason": "Why it was refused",
    "reasons": "What the meter did",
    "received_at": "When it came",
    "refresh_token": "As received last; good for one use",
    "requestId": "Also in the header `X-Request-ID` and in the log",
    "resolution": "`raw`: as it came; else one point for so much time",
    "role": "What the account may do",
    "seller": "Who sells",
    "seller_id": "Who sells",
    "slot_start": "When its 15 minutes begin",
    "status": "Where it stands",
    "statusCode": "As the HTTP status",
    "success": "Whether it was done",
    "telemetry": "Topic that the device publishes readings to",
    "temperature_c": "°C",
    "time": "When it was measured",
    "timestamp": "When it was answered",
    "token_type": "How to send the access token",
    "topic": "Where it was published",
    "topics": "What it may publish and read",
    "transfer_id": "The balanced set of entries that it belongs to",
    "type": "Which kind of failure",
    "updated_at": "When it last changed",
    "url": "Where to connect",
    "user": "Who is signed in",
    "user_id": "Whose it is",
    "username": "To sign in to the broker with",
    "voltage_v": "V",
}


def documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The app's own `openapi`: made once, when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            tags = [{"name": name, "description": told} for name, told in _TAGS.items()]
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description,
                routes=app.routes, tags=tags,
            )  # fmt: skip
            for step in (_lift, _explain):
                for part in _parts(schema):
                    step(part)
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema, the innermost last."""
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from _parts(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _parts(part)


def _lift(part: dict[str, Any]) -> None:
    """What is told of a value is told of the field that may also be null."""
    branches = part.get("anyOf", ())
    for about in _ABOUT:
        told = [branch.pop(about) for branch in branches if about in branch]
        if told:
            part.setdefault(about, told[0])


def _explain(part: dict[str, Any]) -> None:
    """Give fields and parameters without words those of the glossary."""
    fields = part.get("properties", {})
    named = [*fields.items(), *((p["name"], p) for p in part.get("parameters", ()))]
    for name, field in named:
        told = field.get("schema", {}).get("description") or _TERMS.get(name)
        if told:
            field.setdefault("description", told)
