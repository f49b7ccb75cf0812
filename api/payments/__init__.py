"""Payments: money that comes in and goes out through payment providers, and payment methods.

`service` opens a payment order and settles it when the provider's webhook reports the outcome.
`providers.PaymentProviders` runs the adapters that `PAYMENT_PROVIDERS` names, in every API process;
`sandbox` is the only adapter today. `webhooks` signs and verifies webhooks.

Invariants: a withdrawal leaves the wallet when it is opened, so that it can't be spent twice. An
event of a provider counts once. A card or account number is never stored. Locks: idempotency key,
order, wallet.

Failures: a hub without a provider answers `PaymentsUnavailable`. A wrong signature changes nothing.
An order whose webhook fails again and again is set aside for an administrator.
"""
