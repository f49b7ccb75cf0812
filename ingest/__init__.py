"""MQTT → rows: telemetry, intervals, listings that follow, and their events.

What runs: `service.run`, one process of it or several with `INGEST_GROUP`: a `group` divides the
devices among sessions that its members read, unless they share a subscription (`membership`).
A message goes `mqtt.connection` → `subscriber` → its device's dialect (pure) → its lane's
`batcher` (bounded) → `writer` (one transaction) → commit → acknowledged. `lanes` are written side by side. What a
firmware says is decoded in the transaction (`hearing`): it may be part of a measurement that
another message began, or of an hour that came twice (`repeated_hour`).
Beside it time does its own: `presence` (silence, windows that pass), `pricing` (slots that turn),
`victron_keepalive` (for devices that publish only while asked to).

Invariants: a QoS 1 message is acknowledged only after its rows are committed; a reading counts
once however often it arrives; received = stored + duplicate + rejected, per device; what can't be
read is recorded with its reason and acknowledged, so that it never blocks what follows it.

How it fails: with the database away nothing is acknowledged and reading stops at a bounded number
of messages and bytes, until it returns; with the broker away it reconnects, and the broker sends
again what was not acknowledged. Imported by `solarhub` only.
"""
