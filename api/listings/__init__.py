"""Listings: energy that hosts offer on the market, and the summary of the market.

`service` holds what sellers do: create, change, pause, resume and cancel. Each use case is one
transaction that also adds the listing's event to the outbox.

Invariants: a user who is being deactivated, or a device that is being removed, leaves no open
listing behind. A listing shows the exact place of the home to its seller only, unless the seller
made it public. Locks: user and device (shared), state of the device, listing.

Failures: domain errors of `core.errors`; nothing is changed then.
"""
