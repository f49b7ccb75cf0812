"""`mqtts://` with certificates of one's own, for the hub and for devices."""

import gc
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import trustme

from core.settings import DatabaseSettings, MqttSettings, SettingError
from core.tls import trusting
from db.pool import Pool
from ingest.dynsec import BrokerAway, accounts_at
from simulators.link import Credentials, Links, LinkTally
from simulators.whereabouts import Broker
from tests.conftest import secured_mosquitto
from tests.ingest.test_credentials import SECRET, kept, password_of, register
from tests.simulators.test_link import linked, once
from tests.support.mosquitto import SecuredMosquitto
from tests.support.waiting import eventually

# paho leaves the socket of a failed handshake to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed <ssl.SSLSocket:ResourceWarning",
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Let the collector find it here, where it is forgiven, and not in a later test."""
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


async def test_the_hub_refuses_a_broker_that_its_authority_does_not_vouch_for(
    mosquitto: SecuredMosquitto, tmp_path: Path
) -> None:
    with pytest.raises(BrokerAway, match="certificate verify failed"):
        await accounts_at(at(mosquitto, tmp_path / "another-ca.pem"))
    assert await accounts_at(at(mosquitto, tmp_path / "our-ca.pem")) == 1


def test_a_file_without_a_certificate_is_told_of_by_the_settings_name(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(SettingError, match="SOLARHUB_MQTT_CA_FILE: can't be used"):
            trusting(str(tmp_path / name))


async def test_a_simulated_device_measures_by_tls_and_refuses_a_wrong_authority(
    pool: Pool, database: DatabaseSettings, mosquitto: SecuredMosquitto, tmp_path: Path
) -> None:
    device_id = await register(pool)
    device = Credentials(str(device_id), password_of(SECRET, device_id, 1))
    url = f"mqtts://127.0.0.1:{mosquitto.port}"
    ours, wrong = str(tmp_path / "our-ca.pem"), str(tmp_path / "another-ca.pem")
    async with kept(mosquitto, database, mqtt_ca_file=ours):
        refused = LinkTally()
        async with linked(Broker.of(url, wrong), device, once, refused):
            await eventually(lambda: refused.lost)
        assert "certificate verify failed" in refused.last_error
        await Links(Broker.of(url, ours), Random(1), LinkTally()).run(device, once)
