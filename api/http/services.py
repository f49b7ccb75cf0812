"""The services of one API process: what routes use, opened once for all requests."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI

from api.admin.audits import Audits, open_audits
from api.http.authorization import AccessControl, open_active_user_lookup
from api.http.errors import DatabaseFaults
from api.http.metrics import ApiMetrics
from api.http.read_routing import ReadRouting, open_read_routing
from api.http.redis import RedisConnection, open_redis
from api.http.usage_limits import SignInLimits, WriteLimits
from api.payments.providers import PaymentProviders
from api.purchases.service import PurchaseBatcher, open_purchase_batcher
from api.users.passwords import Passwords
from core.clock import REAL_TIME, Clock
from core.settings import ApiSettings, DatabaseSettings, RedisSettings
from core.tokens import Verifier
from db import roles
from db.pool import Pool, open_pool


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one API process, held in `app.state.services`."""

    settings: ApiSettings
    clock: Clock
    pool: Pool
    database_faults: DatabaseFaults
    reads: ReadRouting
    purchase_batcher: PurchaseBatcher
    redis: RedisConnection
    passwords: Passwords
    sign_in_limits: SignInLimits
    write_limits: WriteLimits
    audits: Audits
    providers: PaymentProviders
    metrics: ApiMetrics


@contextlib.asynccontextmanager
async def open_services(
    app: FastAPI,
    settings: ApiSettings,
    database: DatabaseSettings,
    redis: RedisSettings | None,
    clock: Clock = REAL_TIME,
) -> AsyncIterator[Services]:
    """Open the services, set them in `app.state`, and run their tasks until the block ends.

    If a task fails, the block is cancelled, and the failure is raised at its end.
    """
    metrics: ApiMetrics = app.state.metrics
    async with (
        open_pool(database, application_name="api", role=roles.API, plan_once=True) as pool,
        open_active_user_lookup(pool) as active_users,
        open_read_routing(database, pool, metrics) as reads,
        open_purchase_batcher(pool, settings) as purchase_batcher,
        open_redis(redis) as redis_connection,
        open_audits(database) as audits,
    ):
        metrics.watch_pool(pool)
        write_limits = WriteLimits(settings.rate_limit_writes)
        app.state.access = AccessControl(
            tokens=Verifier(settings.jwt_secret.get_secret_value()),
            active_users=active_users,
            write_limits=write_limits,
            metrics=metrics,
        )
        app.state.services = Services(
            settings=settings,
            clock=clock,
            pool=pool,
            database_faults=DatabaseFaults(pool),
            reads=reads,
            purchase_batcher=purchase_batcher,
            redis=redis_connection,
            passwords=Passwords(settings.bcrypt_rounds),
            sign_in_limits=SignInLimits(settings, redis_connection.client),
            write_limits=write_limits,
            audits=audits,
            providers=PaymentProviders(pool, settings),
            metrics=metrics,
        )
        yield app.state.services
