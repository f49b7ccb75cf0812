"""The documentation as an author of clients meets it: names, places, responses, roles, servers."""

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from api.http.app import create_app
from core.settings import ApiSettings
from tests.api.test_openapi import operations, schema

__all__ = ["schema"]  # The fixture.

PUBLIC_URL = "https://hub.example.org"


def test_schemas_have_names_that_an_author_of_clients_would_choose(schema: dict[str, Any]) -> None:
    models = schema["components"]["schemas"]
    assert [name for name in models if not re.fullmatch(r"([A-Z][a-z]+)+", name)] == []
    assert [name for name in models if name.endswith("View")] == []
    assert {
        "Reading", "ReadingPage", "TelemetryResponse", "Listing", "ListingPage",
        "ListingPageResponse", "ListingResponse", "EmptyResponse", "RejectionPage",
    } <= set(models)  # fmt: skip
    assert all(model["title"] == name for name, model in models.items())


def test_every_reference_leads_to_a_schema(schema: dict[str, Any]) -> None:
    models = schema["components"]["schemas"]
    named = re.findall(r"#/components/schemas/(\w+)", str(schema))
    assert set(named) <= set(models)
    assert set(models) - set(named) == set()


def test_every_success_says_what_it_holds(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        successes = {
            status: response["description"]
            for status, response in operation["responses"].items()
            if status.startswith("2")
        }
        assert successes, name
        for description in successes.values():
            assert len(description.split()) >= 3, name
            assert description != "Successful Response", name


def test_every_summary_is_a_sentence_of_its_own(schema: dict[str, Any]) -> None:
    summaries = [operation["summary"] for _, operation in operations(schema)]
    assert [summary for summary in summaries if len(summary.split()) < 3] == []
    assert len(set(summaries)) == len(summaries)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("NewListing", ("latitude", "longitude")),
        ("DeviceRegistration", ("latitude", "longitude")),
        ("DeviceChange", ("latitude", "longitude")),
        ("PositionUpdate", ("latitude", "longitude")),
        ("NewAddress", ("latitude", "longitude")),
    ],
)
def test_bodies_name_a_place_by_its_long_spelling_alone(
    schema: dict[str, Any], model: str, names: tuple[str, str]
) -> None:
    fields = schema["components"]["schemas"][model]["properties"]
    assert set(names) <= set(fields)
    assert not {"lat", "lon"} & set(fields)


def test_queries_name_a_place_by_its_short_spelling_alone(schema: dict[str, Any]) -> None:
    for name in ("nearby-listings", "nearby-users", "nearby-devices"):
        parameters = schema["paths"][f"/api/v1/location/{name}"]["get"]["parameters"]
        names = {parameter["name"] for parameter in parameters}
        assert {"lat", "lon"} <= names
        assert not {"latitude", "longitude"} & names


def test_the_role_of_a_user_is_one_of_four_and_decides_the_profile(schema: dict[str, Any]) -> None:
    models = schema["components"]["schemas"]
    user = models["User"]
    assert user["discriminator"]["propertyName"] == "role"
    profiles = {}
    for role, reference in user["discriminator"]["mapping"].items():
        fields = models[reference.rsplit("/", 1)[-1]]["properties"]
        assert fields["role"]["const"] == role
        profiles[role] = fields["profile"].get("$ref", fields["profile"].get("type"))
    assert profiles == {
        "host": "#/components/schemas/HostProfile",
        "buyer": "#/components/schemas/BuyerProfile",
        "investor": "#/components/schemas/InvestorProfile",
        "admin": "null",
    }


def test_the_server_is_the_public_url_of_the_hub() -> None:
    settings = ApiSettings(jwt_secret="never used, never used, never used", public_url=PUBLIC_URL)
    app = create_app(settings, CollectorRegistry())
    assert [server["url"] for server in app.openapi()["servers"]] == [PUBLIC_URL]
