"""The provider for trying out: it agrees to every order, and says so by webhook at once.

It makes money out of nothing, so it runs only where `PAYMENT_PROVIDERS` names it.

Orders that it has not answered are found in the database, so that none is forgotten when a
process dies; of several processes the first answer counts.
"""

import asyncio
import contextlib
import ssl
from enum import Enum

import httpx
import structlog

from api.payments.webhooks import SIGNATURE_HEADER, WebhookEvent, sign
from core.enums import Queue
from core.settings import ApiSettings, loopback_of
from core.units import rfc3339
from db import failed_items, payments
from db.errors import database_errors
from db.payments import PaymentOrder
from db.pool import Pool

NAME = "sandbox"
_LOOK_EVERY_S = 5
_ORDERS_AT_ONCE = 20
_TIMEOUT_S = 5
_BUSY = (429, 503)

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
                except database_errors() as error:
                    _log.warning("sandbox_waits_for_database", error=repr(error))
                    all_done = True
                if all_done:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_EVERY_S):
                            await self._woken.wait()

    async def _answer_pending(self, http: httpx.AsyncClient) -> bool:
        """Answer the oldest orders, each by itself. False: there may be more to do at once.

        One that can't be told stands aside for a while, and is set aside after some tries.
        """
        async with self._pool.acquire() as conn:
            orders = await payments.pending(conn, NAME, _ORDERS_AT_ONCE)
        told = await asyncio.gather(*(self._tell(http, order) for order in orders))
        done = [order.id for order, one in zip(orders, told, strict=True) if one is _Told.DONE]
        if done:
            await failed_items.forget(self._pool, Queue.PAYMENTS, done)
        return len(orders) < _ORDERS_AT_ONCE or _Told.NOBODY_THERE in told

    async def _tell(self, http: httpx.AsyncClient, order: PaymentOrder) -> "_Told":
        try:
            response = await http.send(self._webhook(http, order))
        except httpx.ConnectError as error:
            _log.warning("webhook_not_delivered", order_id=str(order.id), error=repr(error))
            return _Told.NOBODY_THERE
        except httpx.HTTPError as error:
            await self._stand_aside(order, repr(error), patient=True)
            return _Told.FAILED
        except ValueError as error:  # an order that no webhook can tell of
            await self._stand_aside(order, str(error), patient=False)
            return _Told.FAILED
        if not response.is_success:
            patient = response.status_code in _BUSY
            await self._stand_aside(order, _refusal(response), patient=patient)
            return _Told.FAILED
        return _Told.DONE

    async def _stand_aside(self, order: PaymentOrder, error: str, *, patient: bool) -> None:
        data = {
            "kind": order.kind, "amount": str(order.amount),
            "user_id": str(order.user_id), "created_at": rfc3339(order.created_at),
        }  # fmt: skip
        set_aside = await failed_items.note(
            self._pool, Queue.PAYMENTS, order.id, error, data=data, patient=patient
        )
        _log.error(
            "item_failed", queue=Queue.PAYMENTS, item=str(order.id), error=error,
            set_aside=set_aside,
        )  # fmt: skip

    def _webhook(self, http: httpx.AsyncClient, order: PaymentOrder) -> httpx.Request:
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
        return http.build_request("POST", self._webhook_url, content=body, headers=headers)


class _Told(Enum):
    """What became of telling an order's outcome."""

    DONE = "done"
    FAILED = "failed"
    NOBODY_THERE = "nobody there"  # no fault of the order's


def _refusal(response: httpx.Response) -> str:
    """Status, code and sentence, as far as the answer has them."""
    try:
        told = response.json()
        return f"{response.status_code} {told['error']['code']}: {told['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}"


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
    return f"http://{loopback_of(settings.api_host)}:{settings.api_port}/api/v1/payments/webhook/{NAME}"
