"""The OpenAPI document: every field described, schemas named for authors of clients.

FastAPI generates the document. The steps here complete it:

- A summary is the first line of the route's docstring.
- A description of a value moves to the field that holds the value or null: tools look there.
- A field or parameter without a description of its own gets the one of `_TERMS`.
- A schema gets the name of its model without the suffix `View`, such as `ListingPage`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_TAGS = {
    "auth": "Registration, signing in and out, and the user's own profile",
    "location": "The user's addresses, and what is near a place",
    "devices": "Devices, their readings and their energy",
    "marketplace": "Listings of energy, purchases and transactions",
    "investments": "Investments in devices and what they earned",
    "wallet": "Balance, entries, top-ups, withdrawals and payment methods",
    "payments": "Webhooks for payment providers",
    "admin": "Routes for administrators only",
    "health": "Health of the hub, metrics and the address of the feed",
}
_ABOUT = ("description", "examples")

# Descriptions of fields and parameters that mean the same in every schema.
_TERMS = {
    "auto_adjust": "true: the listing offers the energy that its device measures",
    "available_from": "Time from which the listing sells",
    "available_to": "Time until which the listing sells; it expires then",
    "balance": "Balance of the wallet in INR, 2 decimals",
    "battery_soc_pct": "State of charge of the battery, 0–100 %",
    "buyer_id": "Unique id of the buyer; null: the user was removed",
    "capacity_w": "Peak power of the device in W",
    "created_at": "Time at which the record was created",
    "currency": "ISO 4217 code of the currency, always INR",
    "current_a": "Current in amperes, A",
    "data": "Content of the response",
    "database": "State of the database connection and of the schema version",
    "details": "Fields that are wrong, with a sentence for each",
    "device_id": "Unique id of the device",
    "dialect": "Format in which the device publishes over MQTT",
    "email": "Email address to sign in with; upper and lower case are the same",
    "error": "Type, code and details of the failure",
    "external_id": "Serial number, id or topic name of the device in its own firmware",
    "fault_code": "Fault code as the device reports it; null: no fault",
    "field": "Name of the field as the client sent it",
    "frequency_hz": "Frequency of the grid in Hz",
    "full_name": "Name of the user as other users see it",
    "is_active": "false: the account is deactivated and can't sign in",
    "items": "Items of the page in the order of the list",
    "last_seen_at": "Time of the last message of the device; null: never",
    "latitude": "WGS 84 latitude in degrees, north positive",
    "listing_id": "Unique id of the listing",
    "load_w": "Power that the household draws in W",
    "longitude": "WGS 84 longitude in degrees, east positive",
    "message": "Sentence for people about the outcome",
    "owner_id": "Unique id of the host who owns the device",
    "payment_method_id": "Unique id of a payment method of the user",
    "phone": "Telephone number with its country code",
    "price_cap": "Highest dynamic price of the listing in INR per kWh",
    "price_floor": "Lowest dynamic price of the listing in INR per kWh",
    "pricing": "`fixed`: the seller's price; `dynamic`: follows local supply and demand",
    "refresh_token": "Newest refresh token of the sign-in, good for one use",
    "requestId": "Id of the request, also in the header `X-Request-ID` and in the log",
    "role": "Role of the user, which decides what the user may do",
    "seller_id": "Unique id of the seller",
    "slot_start": "Time at which the 15-minute slot starts",
    "statusCode": "HTTP status code of the response",
    "success": "true: the request was carried out",
    "temperature_c": "Temperature of the device in °C",
    "timestamp": "Time at which the response was made",
    "type": "Type of the failure, such as ConflictError",
    "updated_at": "Time at which the record last changed",
    "user_id": "Unique id of the user",
    "voltage_v": "Voltage of the grid in V",
}


def documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return the app's `openapi` method, which makes the document on its first call."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            tags = [{"name": name, "description": about} for name, about in _TAGS.items()]
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description,
                routes=app.routes, tags=tags, servers=app.servers,
            )  # fmt: skip
            _name_schemas(schema)
            for step in (_summarise, _lift, _explain):
                for part in _parts(schema):
                    step(part)
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a schema, the innermost last."""
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from _parts(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _parts(part)


def _name_schemas(schema: dict[str, Any]) -> None:
    """Rename the schemas and every reference to them. Raises ValueError if two names are equal."""
    models = schema["components"]["schemas"]
    names = {old: model["title"].removesuffix("View") for old, model in models.items()}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise ValueError(f"models have equal names in the documentation: {', '.join(twice)}")
    schema["components"]["schemas"] = {
        names[old]: model | {"title": names[old]} for old, model in models.items()
    }
    for part in _parts(schema):
        if isinstance(reference := part.get("$ref"), str):
            part["$ref"] = _renamed(reference, names)
        if isinstance(mapping := part.get("mapping"), dict):
            part["mapping"] = {key: _renamed(value, names) for key, value in mapping.items()}


def _renamed(reference: str, names: dict[str, str]) -> str:
    path, _, name = reference.rpartition("/")
    return f"{path}/{names[name]}"


def _summarise(part: dict[str, Any]) -> None:
    """Make the first line of an operation's description its summary."""
    if "operationId" in part:
        part["summary"] = part["description"].partition("\n")[0].rstrip(".")


def _lift(part: dict[str, Any]) -> None:
    """Describe a field that may be null by the description of its value."""
    branches = part.get("anyOf", ())
    for about in _ABOUT:
        found = [branch.pop(about) for branch in branches if about in branch]
        if found:
            part.setdefault(about, found[0])


def _explain(part: dict[str, Any]) -> None:
    """Describe fields and parameters that have no description by `_TERMS`."""
    fields = part.get("properties", {})
    named = [*fields.items(), *((p["name"], p) for p in part.get("parameters", ()))]
    for name, field in named:
        about = field.get("schema", {}).get("description") or _TERMS.get(name)
        if about:
            field.setdefault("description", about)
