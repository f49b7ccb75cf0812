"""The routes for liveness, readiness, metrics and the address of the feed."""

import re

from core.settings import DatabaseSettings, RedisSettings
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, serving
from tests.support.people import add_listing, add_user

NOWHERE = DatabaseSettings(database_url="postgresql://solarhub@127.0.0.1:1/none")


async def test_the_api_is_ready_with_database_and_redis(
    database: DatabaseSettings, redis_settings: RedisSettings
) -> None:
    async with serving(database, redis_settings) as api:
        ready = data_of(await api.call("GET", "/readyz"))
        assert ready == {"database": "ok", "redis": "ok", "replica": "off", "payments": "ok"}


async def test_without_redis_the_api_is_degraded_and_ready(database: DatabaseSettings) -> None:
    async with serving(database, RedisSettings(redis_url="redis://127.0.0.1:1")) as api:
        ready = data_of(await api.call("GET", "/readyz"))
        assert ready == {"database": "ok", "redis": "degraded", "replica": "off", "payments": "ok"}


async def test_without_the_database_the_api_is_alive_and_not_ready() -> None:
    async with serving(NOWHERE) as api:
        assert (await api.call("GET", "/healthz")).is_success
        assert (await api.call("HEAD", "/healthz")).is_success
        assert (await api.call("HEAD", "/readyz")).status_code == 503
        response = await api.call("GET", "/readyz")
        assert response.status_code == 503
        assert "database" in response.json()["message"]
        login = {"email": "asha@example.org", "password": "correct horse"}
        response = await api.call("POST", "/api/v1/auth/login", json=login)
        assert (response.status_code, code_of(response)) == (503, "database_unavailable")
        assert response.headers["Retry-After"] == "2"
        assert "127.0.0.1" not in response.text


async def test_with_another_schema_version_the_api_is_not_ready(
    empty_database: DatabaseSettings, database: DatabaseSettings, pool: Pool
) -> None:
    await pool.execute("UPDATE alembic_version SET version_num = '0000'")
    for settings, found in ((empty_database, "nothing"), (database, "0000")):
        async with serving(settings) as api:
            response = await api.call("GET", "/readyz")
            assert response.status_code == 503
            assert f"the schema is at {found}" in response.json()["message"]


async def test_the_reason_of_a_database_error_is_in_the_log_only(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    await pool.execute("DROP TABLE outbox CASCADE")
    await pool.execute("ALTER TABLE energy_listings RENAME COLUMN price_per_kwh TO something_else")
    response = await api.call("GET", "/api/v1/marketplace/listings", buyer)
    assert (response.status_code, code_of(response)) == (500, "database_error")
    assert "price_per_kwh" not in response.text


async def test_broken_connections_are_replaced(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    assert (await api.call("GET", "/api/v1/wallet", buyer)).is_success
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'solarhub-api' AND datname = current_database()"
    )
    answers = [await api.call("GET", "/api/v1/wallet", buyer) for _ in range(3)]
    assert answers[-1].is_success


async def test_metrics_count_requests_by_route_and_purchases(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    order = {"listing_id": str(listing_id), "energy_kwh": "1.5"}
    await api.post("/api/v1/marketplace/purchase", buyer, order)
    for _ in range(2):
        await api.get(f"/api/v1/marketplace/listings/{listing_id}", buyer)
    await api.call("GET", "/nowhere")
    metrics = (await api.call("GET", "/metrics")).text

    def value(name: str, **labels: str) -> float:
        inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
        found = re.search(
            rf"^{name}{re.escape('{' + inside + '}' if inside else '')} (\S+)$", metrics, re.M
        )
        assert found is not None, f"{name} {labels} not in {metrics}"
        return float(found[1])

    route = "/api/v1/marketplace/listings/{listing_id}"
    assert value("solarhub_http_requests_total", method="GET", route=route, status="200") == 2
    assert value("solarhub_http_request_seconds_count", method="GET", route=route) == 2
    assert value("solarhub_http_requests_total", method="any", route="none", status="404") == 1
    assert value("solarhub_purchases_total") == 1
    assert value("solarhub_traded_kwh_total") == 1.5
    assert value("solarhub_api_pool_connections", state="open") >= 1


async def test_the_address_of_the_feed_is_that_of_the_settings(database: DatabaseSettings) -> None:
    async with serving(database, realtime_url="wss://feed.example.org/ws") as api:
        feed = data_of(await api.call("GET", "/api/v1/realtime"))
        assert feed == {"url": "wss://feed.example.org/ws"}
