"""`mqtts://` with certificates of a private authority, for the hub and for devices."""

import gc
from collections.abc import Iterator
from pathlib import Path
from random import Random

import aiomqtt
import pytest
import trustme

from core.device_passwords import password_of
from core.settings import DatabaseSettings, MqttSettings, SettingError
from db.pool import Pool
from ingest.broker import BrokerEndpoint, client_context
from ingest.broker_accounts.dynamic_security import BrokerUnreachable, count_accounts
from ingest.mqtt.receive_buffer import ReceiveBuffer
from simulators.device_connection import ConnectionTally, Credentials, DeviceConnector
from simulators.hub_client import BrokerAddress
from tests.conftest import secured_mosquitto
from tests.ingest.broker_accounts.support import SECRET, register, synchronizing
from tests.ingest.mqtt.connections import take
from tests.simulators.test_device_connection import connected, publish_once
from tests.support.mosquitto import SecuredMosquitto
from tests.support.waiting import eventually

# paho leaves the socket of a failed handshake to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed <ssl.SSLSocket:ResourceWarning",
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect such sockets here, where the warning is ignored, and not in a later test."""
    yield
    gc.collect()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "our-ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "another-ca.pem")
    return authority


@pytest.fixture
def mosquitto(tmp_path: Path, authority: trustme.CA) -> Iterator[SecuredMosquitto]:
    (tmp_path / "broker").mkdir()
    with secured_mosquitto(tmp_path / "broker", authority) as running:
        yield running


def at(mosquitto: SecuredMosquitto, ca_file: Path) -> MqttSettings:
    assert mosquitto.url.startswith("mqtts://")
    return MqttSettings(mqtt_url=mosquitto.url, mqtt_ca_file=str(ca_file))


async def test_the_hub_refuses_a_broker_with_a_certificate_of_another_authority(
    mosquitto: SecuredMosquitto, tmp_path: Path
) -> None:
    with pytest.raises(BrokerUnreachable, match="certificate verify failed"):
        await count_accounts(at(mosquitto, tmp_path / "another-ca.pem"))
    assert await count_accounts(at(mosquitto, tmp_path / "our-ca.pem")) == 1


def test_a_file_without_a_certificate_is_an_error_with_the_name_of_the_setting(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(SettingError, match="SOLARHUB_MQTT_CA_FILE: can't be used"):
            client_context(str(tmp_path / name))
        with pytest.raises(SettingError, match="SOLARHUB_MQTT_CA_FILE: can't be used"):
            BrokerAddress.of("mqtts://127.0.0.1", str(tmp_path / name)).tls_context()


async def test_a_simulated_device_publishes_by_tls_and_refuses_a_wrong_authority(
    pool: Pool, database: DatabaseSettings, mosquitto: SecuredMosquitto, tmp_path: Path
) -> None:
    device_id = await register(pool)
    device = Credentials(str(device_id), password_of(SECRET, device_id, 1))
    url = f"mqtts://127.0.0.1:{mosquitto.port}"
    ours, wrong = str(tmp_path / "our-ca.pem"), str(tmp_path / "another-ca.pem")
    async with synchronizing(mosquitto, database, mqtt_ca_file=ours):
        refused = ConnectionTally()
        async with connected(BrokerAddress.of(url, wrong), device, publish_once, refused):
            await eventually(lambda: refused.lost)
        assert "certificate verify failed" in refused.last_error
        await DeviceConnector(BrokerAddress.of(url, ours), Random(1), ConnectionTally()).run(
            device, publish_once
        )


async def test_messages_that_wait_in_the_tls_buffer_are_read_once_there_is_room(
    pool: Pool, database: DatabaseSettings, mosquitto: SecuredMosquitto, tmp_path: Path
) -> None:
    device_id, ours = await register(pool), str(tmp_path / "our-ca.pem")
    topic, password = f"solar/{device_id}/telemetry", password_of(SECRET, device_id, 1)
    settings = at(mosquitto, tmp_path / "our-ca.pem")
    hub = BrokerEndpoint.of(settings)
    async with synchronizing(mosquitto, database, mqtt_ca_file=ours):

        async def device_is_let_in() -> bool:
            return await count_accounts(settings) == 2

        await eventually(device_is_let_in)
        device = aiomqtt.Client(
            "127.0.0.1", mosquitto.port, username=str(device_id), password=password,
            tls_context=client_context(ours),
        )  # fmt: skip
        buffer = ReceiveBuffer(held_max_bytes=500_000)
        async with hub.connect("hub-of-the-test", clean_session=True, buffer=buffer) as connection:
            await connection.subscribe([(topic, 1)])
            payloads = [f"{n} ".encode().ljust(50_000, b"x") for n in range(200)]
            async with device:
                for payload in payloads:
                    await device.publish(topic, payload, qos=1)
            await eventually(lambda: not connection.is_reading)
            taken = await take(connection, len(payloads))
    assert [one.payload for one in taken] == payloads
