"""Ids of things that exist, and one check, for Schemathesis.

Schemathesis loads it in a process of its own; `SOLARHUB_CONTRACT_WORLD` names the ids there are.
"""

import json
import os
from typing import Any
from uuid import UUID

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

# Fields that may be refused in a request that keeps to the documentation: what is wrong with them
# is their relation to another field, to the clock, or to what is stored, which no schema can say.
BEYOND_SCHEMA = {
    "POST /api/v1/auth/register": {"email", "password"},
    "POST /api/v1/auth/login": {"email", "password"},
    "POST /api/v1/auth/change-password": {"current_password", "new_password"},
    "PATCH /api/v1/auth/me": {
        "company", "monthly_demand_kwh", "property_name", "tariff_per_kwh",
    },
    "POST /api/v1/devices": {
        "external_id", "funding_target", "latitude", "longitude", "revenue_share", "time_zone",
    },
    "PATCH /api/v1/devices/{device_id}": {
        "funding_target", "latitude", "longitude", "revenue_share", "time_zone",
    },
    "PATCH /api/v1/admin/devices/{device_id}": {"earns_from"},
    "GET /api/v1/admin/devices/{device_id}/totals": {"from"},
    "GET /api/v1/admin/headline": {"from"},
    "GET /api/v1/devices/{device_id}/telemetry": {"from", "to"},
    "GET /api/v1/devices/{device_id}/energy": {"from", "to"},
    "GET /api/v1/location/nearby-listings": {"lat", "lon"},
    "GET /api/v1/location/nearby-users": {"lat", "lon"},
    "GET /api/v1/location/nearby-devices": {"lat", "lon"},
    "GET /api/v1/marketplace/summary": {"from", "to"},
    "POST /api/v1/marketplace/listings": {
        "available_from", "available_to", "device_id", "energy_amount_kwh", "latitude",
        "longitude", "price_cap", "price_floor", "price_per_kwh",
    },
    "PATCH /api/v1/marketplace/listings/{listing_id}": {
        "available_from", "available_to", "energy_amount_kwh", "price_per_kwh",
    },
    "POST /api/v1/marketplace/purchase": {"energy_kwh"},
}  # fmt: skip

_world: dict[str, list[str]] = json.loads(os.environ["SOLARHUB_CONTRACT_WORLD"])


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> Any:
    return _with_known_ids(path_parameters)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return _with_known_ids(body) if isinstance(body, dict) else body


@schemathesis.check
def valid_data_are_refused_for_what_no_schema_can_say(
    context: Any, response: Any, case: Any
) -> None:
    if response.status_code == 400:
        # Schemathesis links operations by names, and passes a field on that may be null.
        if None in (case.path_parameters or {}).values():
            return
        fields = {detail["field"] for detail in response.json()["error"]["details"]}
        if fields and fields <= BEYOND_SCHEMA.get(case.operation.label, set()):
            return
    positive_data_acceptance(context, response, case)


def _with_known_ids(values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Put ids that exist in place of most that are made up."""
    if not values:
        return values
    return {name: _known(_world.get(name, []), value) for name, value in values.items()}


def _known(ids: list[str], value: Any) -> Any:
    try:
        made_up = UUID(value)
    except (ValueError, TypeError, AttributeError):
        return value
    choices = [*ids, str(value)]
    return choices[made_up.int % len(choices)]
