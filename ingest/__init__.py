"""MQTT → rows: telemetry, intervals, listings that follow a device, and their events.

What runs: `service.run`, in one process, or in several with `INGEST_GROUP`. Then a `group` divides
the devices among sessions that its members read; with a shared subscription `session_takeover`
reads the sessions of members that are missing.
A message goes `mqtt.connection` → `subscriber` → its device's dialect (pure) → a bounded partition
of `batcher` → `committer` → `writer` (one transaction) → commit → acknowledged. Messages of a
firmware are decoded in the transaction (`firmware_decoding`): one may be a part of a measurement
that another message began, or belong to an hour that came twice (`repeated_hour`).
Timers run beside it: `presence` (silent devices, windows that pass), `pricing` (each slot) and
`victron_keepalive` (devices that publish only while asked to).

Invariants: a QoS 1 message is acknowledged only after its rows are committed. A reading counts once
however often it arrives. received = stored + duplicate + rejected, per device. A message that can't
be read is recorded with its reason and acknowledged, so it never blocks those behind it.

How it fails: while the database is unavailable nothing is acknowledged, and reading stops at a
bounded number of messages and bytes. While the broker is unavailable it reconnects, and the broker
sends again what was not acknowledged. Imported by `solarhub` only.
"""
