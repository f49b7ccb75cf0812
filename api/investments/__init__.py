"""Investments: money that investors put into a device for a share of what it sells.

`service.invest` is the only use case. Every later sale of the device's energy pays the investors
their share in the transfer of the sale: that happens in the purchase, not here.

Invariants: the host receives the money when the investment commits. The terms of a device can't
change after its first investment. Investments in a device never exceed its funding target. Locks:
idempotency key, host (shared), funding of the device, both wallets by user id.

Failures: domain errors of `core.errors`; no money has moved then.
"""
