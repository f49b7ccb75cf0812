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


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    database: Literal["ok"] = "ok"
    redis: Annotated[
        Literal["ok", "degraded", "off"],
        Field(description="`degraded`: away, buying goes on without it; `off`: none is set"),
    ]
    replica: Annotated[
        Literal["ok", "degraded", "off"],
        Field(description="`degraded`: away or behind, the database answers; `off`: none is set"),
    ]
    payments: Annotated[
        Literal["ok", "unavailable"],
        Field(description="`unavailable`: no provider is set, money neither comes in nor goes out"),
    ]


class FeedAddress(BaseModel):
    url: Annotated[str, Field(examples=["ws://127.0.0.1:8001/ws"])]


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
async def healthz() -> Answer[Alive]:
    """The process is alive."""
    return ok(Alive())


@router.get("/readyz", response_model=Answer[Ready])
@router.head("/readyz", response_model=Answer[Ready], include_in_schema=False)
async def readyz(services: ServicesDep) -> Answer[Ready] | Response:
    """Whether requests can be served; 503 says what is wrong."""
    fault = await _database_fault(services.pool) or await services.database_faults.current()
    if fault is not None:
        return not_ready(fault)
    redis = await services.redis.state()
    return ok(
        Ready(
            redis=redis,
            replica=services.reads.replica_state,
            payments="ok" if services.providers.names else "unavailable",
        )
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """For Prometheus; the public door does not lead here."""
    registry: CollectorRegistry = request.app.state.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@feed.get("")
async def realtime(settings: SettingsDep) -> Answer[FeedAddress]:
    """Where the live feed is."""
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
