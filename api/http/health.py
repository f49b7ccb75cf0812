"""Routes: alive, ready, metrics, and where the feed is."""

from typing import Annotated, Literal

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, Field

from api.http import routing
from api.http.dependencies import ServicesDep, SettingsDep
from api.http.envelope import Answer, ok
from api.http.errors import not_ready
from db import schema
from db.errors import database_errors, shortage
from db.pool import Pool

router = routing.bare("health")
feed = routing.public("/realtime", "health")


class Liveness(BaseModel):
    status: Annotated[Literal["alive"], Field(description="State of the process")] = "alive"


class Readiness(BaseModel):
    database: Annotated[Literal["ok"], Field(description="State of the database")] = "ok"
    redis: Annotated[
        Literal["ok", "degraded", "off"],
        Field(
            description="`degraded`: unavailable, purchases go on without it; `off`: not configured"
        ),
    ]
    replica: Annotated[
        Literal["ok", "degraded", "off"],
        Field(
            description="`degraded`: unavailable or behind, the primary answers; `off`: not "
            "configured"
        ),
    ]
    payments: Annotated[
        Literal["ok", "unavailable"],
        Field(
            description="`unavailable`: no provider is configured, and top-ups and withdrawals are "
            "refused"
        ),
    ]


class FeedAddress(BaseModel):
    url: Annotated[
        str,
        Field(description="WebSocket URL of the live feed", examples=["ws://127.0.0.1:8001/ws"]),
    ]


@router.get("/healthz", response_description="The process is alive")
@router.head("/healthz", include_in_schema=False)
async def healthz() -> Answer[Liveness]:
    """Check that the process is alive."""
    return ok(Liveness())


@router.get(
    "/readyz",
    response_model=Answer[Readiness],
    response_description="The process can serve requests",
)
@router.head("/readyz", response_model=Answer[Readiness], include_in_schema=False)
async def readyz(services: ServicesDep) -> Answer[Readiness] | Response:
    """Check that the process can serve requests; 503 says what is wrong."""
    fault = await _database_fault(services.pool) or await services.database_faults.current()
    if fault is not None:
        return not_ready(fault)
    redis = await services.redis.state()
    return ok(
        Readiness(
            redis=redis,
            replica=services.reads.replica_state,
            payments="ok" if services.providers.names else "unavailable",
        )
    )


@router.get(
    "/metrics",
    response_class=Response,
    response_description="Metrics in the text format of Prometheus",
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Get the metrics for Prometheus.

    The public proxy of the hub does not route here.
    """
    registry: CollectorRegistry = request.app.state.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@feed.get("", response_description="The address of the live feed")
async def realtime(settings: SettingsDep) -> Answer[FeedAddress]:
    """Get the WebSocket URL of the live feed."""
    return ok(FeedAddress(url=settings.realtime_url))


async def _database_fault(pool: Pool) -> str | None:
    try:
        async with pool.acquire() as conn:
            revision = await schema.current_revision(conn)
    except database_errors() as error:
        return shortage(error) or "the database can't be reached"
    expected = schema.newest_revision()
    if revision != expected:
        return f"the schema is at {revision or 'nothing'}, this version needs {expected}"
    return None
