"""The app: what it has while it runs, what surrounds a request, and its routes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from api.admin import control_room, device_decisions, set_aside
from api.admin import routes as admin_routes
from api.admin.audits import open_audits
from api.devices import routes as devices_routes
from api.devices import telemetry
from api.http import health, static_pages
from api.http.active_users import open_active_users_check
from api.http.database_trouble import DatabaseTrouble
from api.http.dependencies import Services
from api.http.metrics import ApiMetrics
from api.http.middleware import Cors, RequestContextMiddleware, RequestLimitsMiddleware
from api.http.openapi import documented
from api.http.rate_limits import RateLimits
from api.http.read_routing import open_read_routing
from api.http.redis import open_redis
from api.http.routing import Shortcut
from api.http.write_limits import WriteLimits
from api.investments import routes as investments_routes
from api.listings import routes as listings_routes
from api.listings import summary
from api.location import addresses
from api.location import routes as location_routes
from api.payments import routes as payments_routes
from api.payments.providers import PaymentProviders
from api.purchases import routes as purchases_routes
from api.purchases.service import open_purchase_batcher
from api.users import routes as users_routes
from api.users.passwords import Passwords
from api.wallet import routes as wallet_routes
from core.settings import ApiSettings, DatabaseSettings, RedisSettings
from core.tokens import Verifier
from db import roles
from db.pool import open_pool

_DESCRIPTION = """
Neighbours with panels sell the energy that their meters measured to neighbours without.

Every answer is in the same envelope. kWh, prices (INR per kWh) and money (INR) are decimal strings
in answers, strings or numbers in requests. Instants are RFC 3339; answers are in UTC. Lists take
`limit` and `cursor`; a `next_cursor` leads on.
"""
# Routes are tried in this order: what is asked for most comes first.
_ROUTERS = (
    purchases_routes.router,
    listings_routes.router,
    summary.router,
    location_routes.router,
    addresses.router,
    devices_routes.router,
    telemetry.router,
    wallet_routes.router,
    investments_routes.router,
    payments_routes.router,
    users_routes.public,
    users_routes.private,
    admin_routes.router,
    control_room.router,
    device_decisions.router,
    set_aside.router,
    health.feed,
    health.router,
)


def create_app(
    settings: ApiSettings,
    database: DatabaseSettings,
    redis: RedisSettings | None,
    registry: CollectorRegistry,
) -> FastAPI:
    metrics = ApiMetrics(registry)
    app = FastAPI(
        title="solarhub",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=_lifespan(settings, database, redis, metrics),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.registry = registry
    app.openapi = documented(app)  # type: ignore[method-assign]
    for router in _ROUTERS:
        # Each route is whole already; the framework would match an included router twice.
        app.router.routes.extend(router.routes)
    app.router.routes.extend(static_pages.routes())
    app.middleware_stack = _surrounded(Shortcut(app.routes, app.router), settings, metrics)
    return app


def _lifespan(
    settings: ApiSettings,
    database: DatabaseSettings,
    redis: RedisSettings | None,
    metrics: ApiMetrics,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_pool(database, application_name="api", role=roles.API, plan_once=True) as pool,
            open_active_users_check(pool) as admission,
            open_read_routing(database, pool, metrics) as reads,
            open_purchase_batcher(pool, settings) as till,
            open_redis(redis) as redis_link,
            open_audits(database) as audits,
        ):
            metrics.watch_pool(pool)
            app.state.services = Services(
                settings=settings,
                pool=pool,
                trouble=DatabaseTrouble(pool),
                admission=admission,
                reads=reads,
                till=till,
                redis=redis_link,
                passwords=Passwords(settings.bcrypt_rounds),
                tokens=Verifier(settings.jwt_secret.get_secret_value()),
                rate_limits=RateLimits(settings, redis_link.client),
                writes=WriteLimits(settings.rate_limit_writes),
                audits=audits,
                providers=PaymentProviders(pool, settings),
                metrics=metrics,
            )
            yield

    return lifespan


def _surrounded(app: ASGIApp, settings: ApiSettings, metrics: ApiMetrics) -> ASGIApp:
    """In place of the framework's own layers, each of which costs every request."""
    app = RequestLimitsMiddleware(app)
    if settings.cors_origins:
        app = Cors(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["X-Request-ID", "Idempotent-Replayed", "Retry-After"],
        )
    behind_tls = settings.public_url.startswith("https://")
    return RequestContextMiddleware(
        app, metrics=metrics, behind_tls=behind_tls, page_policy=static_pages.policy(settings)
    )
