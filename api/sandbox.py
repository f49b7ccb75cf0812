"""The provider for trying out: it agrees to every order, and says so by webhook at once.

It makes money out of nothing, so it runs only where `PAYMENT_PROVIDERS` names it.

Orders that it has not answered are found in the database, so that none is forgotten when a
process dies; of several processes the first answer counts.
"""

import asyncio
import contextlib
import ssl

import httpx
import structlog

from api.webhooks import SIGNATURE_HEADER, WebhookEvent, sign
from core.settings import ApiSettings, near
from db import payments
from db.errors import DATABASE_ERRORS, UNAVAILABLE
from db.payments import Order
from db.pool import Pool

NAME = "sandbox"
_LOOK_EVERY_S = 5
_ORDERS_AT_ONCE = 20
_TIMEOUT_S = 5

_log = structlog.get_logger()


class Sandbox:
    """`run` it, and `wake` it after the commit of an order."""

    def __init__(self, pool: Pool, settings: ApiSettings) -> None:
        self._pool = pool
        self.webhook_secret = _webhook_secret(settings)
        self._webhook_url = _webhook_url(settings)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Answer orders until cancelled."""
        async with _client() as http:
            while True:
                self._woken.clear()
                try:
                    all_done = await self._answer_pending(http)
                except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
                    _log.warning("sandbox_waits_for_database", error=repr(error))
                    all_done = True
                if all_done:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_EVERY_S):
                            await self._woken.wait()

    async def _answer_pending(self, http: httpx.AsyncClient) -> bool:
        """Answer the oldest orders. False: there may be more, and this went well."""
        async with self._pool.acquire() as conn:
            orders = await payments.pending(conn, NAME, _ORDERS_AT_ONCE)
        told = await asyncio.gather(*(self._tell(http, order) for order in orders))
        return len(orders) < _ORDERS_AT_ONCE or not all(told)

    async def _tell(self, http: httpx.AsyncClient, order: Order) -> bool:
        event = WebhookEvent(
            event_id=f"{NAME}-{order.id}",
            type="payment.succeeded",
            order_id=order.id,
            amount=order.amount,
        )
        body = event.model_dump_json().encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: sign(self.webhook_secret, body),
        }
        try:
            response = await http.post(self._webhook_url, content=body, headers=headers)
            response.raise_for_status()
        except httpx.HTTPError as error:
            _log.warning("webhook_not_delivered", order_id=str(order.id), error=repr(error))
            return False
        return True


def _client() -> httpx.AsyncClient:
    """For plain HTTP to ourselves: past any proxy, and without the time that certificates take."""
    nobody_trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, verify=nobody_trusted)


def _webhook_secret(settings: ApiSettings) -> str:
    """Its own where one is set; else one that all processes derive from the same secret."""
    if settings.payment_webhook_secret is not None:
        return settings.payment_webhook_secret.get_secret_value()
    return sign(settings.jwt_secret.get_secret_value(), b"payment webhooks")


def _webhook_url(settings: ApiSettings) -> str:
    """The process itself, whatever the world calls it."""
    return f"http://{near(settings.api_host)}:{settings.api_port}/api/v1/payments/webhook/{NAME}"
