"""The app: its routes, the layers around them, and its documentation."""

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from api.admin import control_room, device_decisions, headline, set_aside
from api.admin import routes as admin_routes
from api.devices import routes as devices_routes
from api.devices import telemetry
from api.http import health, static_pages
from api.http.metrics import ApiMetrics
from api.http.middleware import Cors, RequestContextMiddleware, RequestLimitsMiddleware
from api.http.openapi import documented
from api.investments import routes as investments_routes
from api.listings import routes as listings_routes
from api.listings import summary
from api.location import routes as location_routes
from api.payments import routes as payments_routes
from api.purchases import routes as purchases_routes
from api.users import routes as users_routes
from api.wallet import routes as wallet_routes
from core.clock import REAL_TIME, Clock
from core.settings import ApiSettings

_DESCRIPTION = """
Neighbours with panels sell the energy that their meters measured to neighbours without.

Every response is in the same envelope. Energy in kWh, prices in INR per kWh and money in INR are
decimal strings in responses, and strings or numbers in requests. Times are RFC 3339; responses have
them in UTC. Lists take `limit` and `cursor`; `next_cursor` of a page is the cursor of the next one.
"""
# Starlette matches one route after the other in this order, each for about a microsecond. Routers
# of frequent requests come first.
_ROUTERS = (
    purchases_routes.router,
    location_routes.router,
    listings_routes.router,
    summary.router,
    devices_routes.router,
    telemetry.router,
    wallet_routes.router,
    investments_routes.router,
    payments_routes.methods_router,
    payments_routes.webhooks_router,
    users_routes.public,
    users_routes.private,
    admin_routes.router,
    control_room.router,
    headline.router,
    device_decisions.router,
    set_aside.router,
    health.feed,
    health.router,
)


def create_app(
    settings: ApiSettings, registry: CollectorRegistry, clock: Clock = REAL_TIME
) -> FastAPI:
    """Return the app without its services, which `open_services` adds before it serves.

    Raises UnsupportedRoute when a module of routes is imported.
    """
    app = FastAPI(
        title="solarhub",
        version="0.1.0",
        description=_DESCRIPTION,
        servers=[{"url": settings.public_url, "description": "Public address of the hub"}],
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.registry = registry
    app.state.metrics = ApiMetrics(registry)
    app.openapi = documented(app)  # type: ignore[method-assign]
    for router in _ROUTERS:
        # Not include_router: FastAPI would match an included router and then its routes.
        app.router.routes.extend(router.routes)
    app.router.routes.extend(static_pages.routes())
    app.middleware_stack = surround(app.router, settings, app.state.metrics, clock)
    return app


def surround(
    app: ASGIApp, settings: ApiSettings, metrics: ApiMetrics, clock: Clock = REAL_TIME
) -> ASGIApp:
    """Return the app within its layers.

    They replace Starlette's middleware and exception handlers, each of which costs time in every
    request. Handlers that are added to the app have no effect.
    """
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
        app,
        metrics=metrics,
        behind_tls=behind_tls,
        page_policy=static_pages.policy(settings),
        clock=clock,
    )
