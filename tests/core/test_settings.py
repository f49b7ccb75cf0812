"""A setting's error names the setting and the allowed values, and never its value."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import parse_many

from core import setting_types, settings
from core.settings import (
    ApiSettings,
    DatabaseSettings,
    GridSettings,
    IngestSettings,
    RealtimeSettings,
    RedisSettings,
    SettingError,
    _SettingsPart,
    check_names,
    cluster_nodes,
    load,
    variable,
)

DATABASE_URL = "postgresql://hub@db.example/solarhub"
SECRET = "0123456789abcdef0123456789abcdef"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations" / "settings.md"


@pytest.fixture(autouse=True)
def no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory without a .env file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLARHUB_DATABASE_URL", DATABASE_URL)
    monkeypatch.setenv("SOLARHUB_DATABASE_POOL_MAX", "7")
    assert load(DatabaseSettings).database_pool_max == 7


def test_settings_come_from_a_file(no_env_file: Path) -> None:
    (no_env_file / ".env").write_text(f"SOLARHUB_DATABASE_URL={DATABASE_URL}\n")
    assert load(DatabaseSettings).database_url == DATABASE_URL


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingError, match="SOLARHUB_DATABASE_URL: is required"):
        load(DatabaseSettings)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("database_url", "mysql://x", "must be a URL that starts with postgresql://"),
        ("database_pool_max", "0", "greater than or equal to 1"),
        ("database_pool_max", "many", "valid integer"),
        (
            "database_connect_timeout",
            "soon",
            "must be a duration with its unit, such as 500ms, 30s",
        ),
        ("database_connect_timeout", "0", "must be longer than 0"),
        ("late_horizon", "90d", "must be at least 7d shorter than SOLARHUB_RETENTION_RAW"),
    ],
)
def test_an_error_names_the_setting_and_the_allowed_values(
    field: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingError) as error:
        load(DatabaseSettings, **{"database_url": DATABASE_URL, field: value})
    assert str(error.value).startswith(f"{variable(field)}: ")
    assert allowed in str(error.value)


@pytest.mark.parametrize("part", [IngestSettings, ApiSettings])
def test_the_grids_retail_price_must_exceed_its_export_price(part: type[GridSettings]) -> None:
    needed = {"mqtt_url": "mqtt://broker", "jwt_secret": SECRET}
    for retail, export in (("3", "3"), ("2.9999", None), (None, "8")):
        prices = {"grid_retail_price": retail, "grid_export_price": export}
        with pytest.raises(SettingError) as error:
            load(part, **needed, **{name: p for name, p in prices.items() if p})
        expected = "SOLARHUB_GRID_EXPORT_PRICE: must be lower than SOLARHUB_GRID_RETAIL_PRICE"
        assert str(error.value) == expected


def test_a_secret_that_is_too_short_is_not_shown() -> None:
    with pytest.raises(SettingError, match=r"SOLARHUB_JWT_SECRET: .*32") as error:
        load(RealtimeSettings, jwt_secret="hunter2")
    assert "hunter2" not in str(error.value)
    assert SECRET not in repr(load(RealtimeSettings, jwt_secret=SECRET))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1.5s", 1.5), ("5m", 300), ("5min", 300), ("1h", 3600)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    ingest = load(IngestSettings, mqtt_url="mqtt://broker", offline_after=text)
    assert ingest.offline_after == timedelta(seconds=seconds)


def test_a_duration_without_a_unit_is_refused() -> None:
    with pytest.raises(SettingError, match="OFFLINE_AFTER: must be a duration with its unit"):
        load(IngestSettings, mqtt_url="mqtt://broker", offline_after="300")
    assert load(ApiSettings, jwt_secret=SECRET, payout_delay="0").payout_delay == timedelta(0)


@pytest.mark.parametrize("origin", ["app.example.org", "https://a.example/app", "null", "ftp://a"])
def test_an_origin_has_a_scheme_and_no_path(origin: str) -> None:
    with pytest.raises(SettingError, match="CORS_ORIGINS: must be origins such as https://"):
        load(ApiSettings, jwt_secret=SECRET, cors_origins=origin)
    assert load(ApiSettings, jwt_secret=SECRET, cors_origins="*").cors_origins == ("*",)


def test_a_misspelt_setting_is_refused_with_the_nearest_name() -> None:
    check_names(["SOLARHUB_OFFLINE_AFTER", "SOLARHUB_TEST_ROUNDS", "HOME"])
    with pytest.raises(SettingError, match="SOLARHUB_OFFLINE_AFTR is no setting: did you mean"):
        check_names(["SOLARHUB_OFFLINE_AFTR"])


def test_lists_are_separated_by_commas_and_rates_have_a_period() -> None:
    api = load(ApiSettings, jwt_secret=SECRET, cors_origins="https://a.example, https://b.example")
    assert api.cors_origins == ("https://a.example", "https://b.example")
    assert load(ApiSettings, jwt_secret=SECRET, rate_limit_login="off").rate_limit_login == "off"
    with pytest.raises(SettingError, match="SOLARHUB_RATE_LIMIT_LOGIN: must be off, or limits"):
        load(ApiSettings, jwt_secret=SECRET, rate_limit_login="a lot")


@pytest.mark.parametrize("rate", ["0/minute", "10", "10/0 minutes", "10/fortnight", "١/minute", ""])
def test_an_invalid_rate_is_refused(rate: str) -> None:
    with pytest.raises(SettingError, match="SOLARHUB_RATE_LIMIT_ADDRESS: must be off, or limits"):
        load(ApiSettings, jwt_secret=SECRET, rate_limit_address=rate)


@given(st.lists(st.from_regex(setting_types._RATE, fullmatch=True), min_size=1, max_size=3))
def test_every_accepted_rate_can_be_enforced(rates: list[str]) -> None:
    api = load(ApiSettings, jwt_secret=SECRET, rate_limit_login=";".join(rates))
    limits = parse_many(api.rate_limit_login)
    assert len(limits) == len(rates)
    assert all(limit.amount > 0 and limit.get_expiry() > 0 for limit in limits)


@pytest.mark.parametrize(
    ("login", "address", "per_address"),
    [("10/minute", None, "100/minute"), ("off", None, "off"), ("off", "5/hour", "5/hour")],
)
def test_one_setting_lifts_all_limits(login: str, address: str | None, per_address: str) -> None:
    rates = {"rate_limit_login": login, "rate_limit_address": address}
    assert load(ApiSettings, jwt_secret=SECRET, **rates).sign_ins_per_address == per_address


def test_proxies_are_addresses_and_networks() -> None:
    api = load(ApiSettings, jwt_secret=SECRET, trusted_proxies="127.0.0.1, 10.0.0.0/8, fd00::/8")
    assert api.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "fd00::/8")
    for wrong in ("*", "proxy.example.org", "10.0.0.1/8"):
        with pytest.raises(SettingError, match="SOLARHUB_TRUSTED_PROXIES: must be addresses"):
            load(ApiSettings, jwt_secret=SECRET, trusted_proxies=wrong)


def test_every_setting_is_in_the_manual() -> None:
    parts = [
        p for p in vars(settings).values() if isinstance(p, type) and issubclass(p, _SettingsPart)
    ]
    text = OPERATIONS.read_text("utf-8")
    named = {field.upper() for part in parts for field in part.model_fields}
    assert sorted(name for name in named if f"`{name}`" not in text) == []


def test_a_clusters_url_names_some_of_its_nodes() -> None:
    settings = load(RedisSettings, redis_url="rediss+cluster://hub:secret@a:7000,b/?x=y")
    assert cluster_nodes(settings.redis_url) == [
        "rediss://hub:secret@a:7000/?x=y", "rediss://hub:secret@b/?x=y",
    ]  # fmt: skip
    assert cluster_nodes("redis://a:7000/3") == []
    with pytest.raises(SettingError, match="a cluster has one database"):
        load(RedisSettings, redis_url="redis+cluster://a:7000,b:7000/3")
