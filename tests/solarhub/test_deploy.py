"""compose.yaml and what it mounts say what the code understands."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import yaml

import core.settings
from core.settings import BaseSettings, IngestSettings, MqttSettings, variable
from db import roles
from ingest.broker import BrokerEndpoint
from solarhub.cli import app
from tests.support.mosquitto import AUTOSAVE_S, SecuredMosquitto

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "solarhub"}


def test_every_service_is_watched_and_restarted() -> None:
    for name, service in SERVICES.items():
        assert service["restart"], name
        assert "healthcheck" in service or name == "migrate", name


def test_each_process_is_a_command() -> None:
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert {service["command"][0] for service in OURS.values()} <= commands


def test_each_variable_is_a_setting() -> None:
    parts = [p for p in vars(core.settings).values() if isinstance(p, type)]
    settings = {
        variable(field)
        for part in parts
        if issubclass(part, BaseSettings)
        for field in part.model_fields
    }
    for name, service in OURS.items():
        assert set(service["environment"]) <= settings, name


def test_no_secret_is_written_down() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH", key):
                assert value.startswith("${"), f"{name}: {key}"


def test_each_variable_that_must_be_set_is_in_the_example() -> None:
    required = set(re.findall(r"\$\{(\w+):\?\}", (ROOT / "compose.yaml").read_text()))
    example = (ROOT / "deploy/env.example").read_text()
    assert required == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))


def test_each_process_signs_in_to_the_database_as_its_own_role() -> None:
    migrates = OURS["migrate"]["environment"]
    for name, service in OURS.items():
        url = service["environment"]["SOLARHUB_DATABASE_URL"]
        scheme, user, password, place = re.fullmatch(r"(.+)://(.+?):(.+)@(.+)", url).groups()
        assert (scheme, place) == ("postgresql", "timescaledb/solarhub"), name
        if name == "migrate":
            assert user == "solarhub"
        else:
            part = service["command"][0]
            assert user == f"solarhub_{part}" in roles.ALL
            assert password == migrates[f"SOLARHUB_DATABASE_PASSWORD_{part.upper()}"]
            assert migrates["SOLARHUB_DATABASE_URL"] not in service["environment"].values()


def test_what_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (
                (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            )


def test_each_ingester_has_a_name_of_its_own_and_a_session_to_read() -> None:
    ingesters = [s for s in OURS.values() if s["command"] == ["ingest"]]
    names = {s["environment"]["SOLARHUB_INGEST_CLIENT_ID"] for s in ingesters}
    assert len(names) == len(ingesters) == 2
    assert all("replicas" not in s.get("deploy", {}) for s in ingesters)
    assert {s["environment"]["SOLARHUB_INGEST_GROUP"] for s in ingesters} == {"hub"}
    assert IngestSettings(mqtt_url="mqtt://here").ingest_sessions == len(ingesters)


def test_no_ingester_shares_a_subscription_which_mosquitto_would_forget() -> None:
    assert not IngestSettings(mqtt_url="mqtt://here").ingest_shared_subscription
    for service in OURS.values():
        assert "SOLARHUB_INGEST_SHARED_SUBSCRIPTION" not in service["environment"]


def test_mosquitto_sends_ahead_what_an_ingester_holds_of_every_share() -> None:
    config = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    settings = IngestSettings(mqtt_url="mqtt://here")
    [ahead] = re.findall(r"^max_inflight_messages (\d+)$", config, re.MULTILINE)
    assert int(ahead) >= 2 * settings.ingest_batch_max * settings.ingest_sessions
    [saves_s] = re.findall(r"^autosave_interval (\d+)$", config, re.MULTILINE)
    assert int(saves_s) == AUTOSAVE_S < settings.ingest_gone_after.total_seconds()


def test_the_public_door_is_closed_for_metrics() -> None:
    caddyfile = (ROOT / "deploy/caddy/Caddyfile").read_text()
    assert "@inner path /metrics /metrics/*\n\trespond @inner 404" in caddyfile


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/solarhub.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"solarhub_\w+", target["expr"])
    }
    sources = "".join(
        path.read_text()
        for part in ("api", "ingest", "realtime")
        for path in (ROOT / part).rglob("*.py")
    )
    for name in asked:
        stem = re.sub("_(total|bucket|sum|count)$", "", name).removeprefix("solarhub_")
        assert stem in sources, name


async def test_mosquitto_is_for_those_it_knows_and_the_hub_hears_and_answers(
    secured: SecuredMosquitto,
) -> None:
    settings = MqttSettings(mqtt_url=secured.url)
    for port in (secured.port, BrokerEndpoint.of(settings).port):
        with pytest.raises(aiomqtt.MqttError):
            await aiomqtt.Client("127.0.0.1", port, timeout=5).__aenter__()
    hub = BrokerEndpoint.of(settings).connect("hub", clean_session=True)
    async with hub as connection, asyncio.timeout(10):
        await connection.subscribe([("$share/hub/solar/+/ack", 1)])
        await connection.publish("solar/1/ack", "heard")
        message = await anext(connection.messages())
    assert message.payload == b"heard"
