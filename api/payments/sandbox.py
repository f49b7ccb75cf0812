"""The sandbox payment provider: it completes every order by a webhook at once.

It makes money out of nothing, so it runs only where `PAYMENT_PROVIDERS` names it.

It finds pending orders in the database, so that none is lost when a process dies. Several processes
may send the webhook of one order: the first one counts.
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
# Orders of other processes, and orders that failed, are found after this time at the latest.
_POLL_INTERVAL_S = 5
_BATCH_MAX = 20
_TIMEOUT_S = 5
# The API itself is too busy: such an order may be tried for longer.
_BUSY_STATUSES = (429, 503)

_log = structlog.get_logger()


class Sandbox:
    """The adapter of the sandbox. `run` it, and `wake` it after the commit of an order."""

    def __init__(self, pool: Pool, settings: ApiSettings) -> None:
        self._pool = pool
        self.webhook_secret = _webhook_secret(settings)
        self._webhook_url = _webhook_url(settings)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Complete orders until cancelled. It waits while the database is unavailable."""
        async with _client() as http:
            while True:
                self._woken.clear()
                try:
                    idle = await self._complete_pending(http)
                except database_errors() as error:
                    _log.warning("sandbox_waits_for_database", error=repr(error))
                    idle = True
                if idle:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_INTERVAL_S):
                            await self._woken.wait()

    async def _complete_pending(self, http: httpx.AsyncClient) -> bool:
        """Send the webhooks of the oldest pending orders. Return False if more may be pending.

        An order whose webhook fails is tried again later, and set aside after several tries.
        """
        async with self._pool.acquire() as conn:
            orders = await payments.pending(conn, NAME, _BATCH_MAX)
        results = await asyncio.gather(*(self._complete(http, order) for order in orders))
        done = [
            order.id
            for order, result in zip(orders, results, strict=True)
            if result is _Delivery.DONE
        ]
        if done:
            async with self._pool.acquire() as conn:
                await failed_items.forget(conn, Queue.PAYMENTS, done)
        return len(orders) < _BATCH_MAX or _Delivery.UNREACHABLE in results

    async def _complete(self, http: httpx.AsyncClient, order: PaymentOrder) -> "_Delivery":
        try:
            response = await http.send(self._webhook(http, order))
        except httpx.ConnectError as error:
            _log.warning("webhook_not_delivered", order_id=str(order.id), error=repr(error))
            return _Delivery.UNREACHABLE
        except httpx.HTTPError as error:
            await self._record_failure(order, repr(error), retry_forever=True)
            return _Delivery.FAILED
        except ValueError as error:  # The order does not fit the form of an event: it never will.
            await self._record_failure(order, str(error), retry_forever=False)
            return _Delivery.FAILED
        if not response.is_success:
            retry_forever = response.status_code in _BUSY_STATUSES
            await self._record_failure(order, _refusal(response), retry_forever=retry_forever)
            return _Delivery.FAILED
        return _Delivery.DONE

    async def _record_failure(
        self, order: PaymentOrder, error: str, *, retry_forever: bool
    ) -> None:
        data = {
            "kind": order.kind, "amount": str(order.amount),
            "user_id": str(order.user_id), "created_at": rfc3339(order.created_at),
        }  # fmt: skip
        async with self._pool.acquire() as conn:
            set_aside = await failed_items.note(
                conn, Queue.PAYMENTS, order.id, error, data=data, retry_forever=retry_forever
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


class _Delivery(Enum):
    """The result of sending a webhook."""

    DONE = "done"
    FAILED = "failed"
    # The API does not listen at the moment. The order is not to blame, and its tries don't count.
    UNREACHABLE = "unreachable"


def _refusal(response: httpx.Response) -> str:
    """Return status, code and message of a refusal, as far as the response has them."""
    try:
        answer = response.json()
        return f"{response.status_code} {answer['error']['code']}: {answer['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}"


def _client() -> httpx.AsyncClient:
    """Return a client for plain HTTP to this process: no proxy, no certificates to load."""
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, verify=no_certificates)


def _webhook_secret(settings: ApiSettings) -> str:
    """Return the configured secret, else one that every process derives from the JWT secret."""
    if settings.payment_webhook_secret is not None:
        return settings.payment_webhook_secret.get_secret_value()
    return sign(settings.jwt_secret.get_secret_value(), b"payment webhooks")


def _webhook_url(settings: ApiSettings) -> str:
    """Return the URL of this process itself, not the public one."""
    return f"http://{loopback_of(settings.api_host)}:{settings.api_port}/api/v1/payments/webhook/{NAME}"
