"""Devices' accounts at an external Mosquitto, kept in step with the database.

What runs: `sync.BrokerAccountSync.run`, in every ingester; an advisory lock lets one of them work.
It lists the broker's accounts (`dynamic_security`, the client of Mosquitto's plugin), computes the
commands that are missing (`commands`, pure) and sends them in batches.

Invariants: a device that is deleted, or whose host is locked out, loses its account before any
other account is created. An account of the hub carries a mark in its description, a hash of what it
was made from; an account that the hub did not create and that no device needs is never changed.
A device can publish and read only its own topics, whatever the broker's default access is.
Passwords are derived from the hub's secret and never stored.

How it fails: the comparison is with the broker's own list, so nothing needs to be repeated after an
outage of the hub or the broker, or after the broker lost its state. An account that the broker
refuses to change is recorded in `failed_items` and skipped, so it does not block the others.
Imported by `ingest.service` and by `solarhub` (doctor). The embedded broker does not need it: it
checks passwords against the database.
"""
