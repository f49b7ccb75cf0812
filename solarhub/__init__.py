"""The composition root: commands, and the whole hub in one process.

What runs: `cli` (every command), `up` (all parts under one TaskGroup, with embedded PostgreSQL,
Valkey and MQTT broker for those whose URL is not set), `demo` (the hub with simulated devices and
buyers), `audit` and `doctor`.

Invariants: each server process that is started here is ended here, also when we are killed (Linux)
or at the next start (elsewhere); what is printed or written to `run.json` is never a device's or
a person's secret; importing any module has no effect.

The only package that knows the processes together; `bench` and nobody else imports it. It fails
with one line that says what to do (`errors.HubError`) and exit code 1, or 2 for wrong use.
"""
