"""The composition root: every command, and the whole hub in one process.

What runs: `cli` (all commands), `services` (one process of a kind), `up` (all parts under one
TaskGroup, with embedded PostgreSQL, Valkey and MQTT broker for those without a URL setting), `demo`
(the hub with simulated devices and buyers), `simulate`, `audit` and `doctor`.

Invariants: every server process that this package starts is also ended by it. If the hub is
killed, the kernel ends them (Linux) or the next start does (elsewhere). Nothing that is printed or
written to `run.json` contains a device's or a person's secret. Importing a module has no effect.

This is the only package that knows all processes. Only `bench` imports it. Commands that need
extras, `simulate` and `bench`, are entry points (`cli.COMMANDS_GROUP`): a server neither installs
nor imports their libraries, and this package never imports `bench`.
A command fails with one line that says what to do (`errors.CommandError`) and exit code 1, or with
exit code 2 for wrong use.
"""
