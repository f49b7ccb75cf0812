"""Devices: registration, changes, removal, MQTT passwords, readings and energy.

`service` holds what owners and administrators do; `routes` and `telemetry` are the routes.

Invariants: a device belongs to one host, and strangers get `NotFound`. An MQTT password is shown
once: only its hash is stored. The capacity is fixed by the first accounted reading, the funding
terms by the first investment. A removed device keeps its history. What an administrator does to a
device is recorded.

Locks: owner (when a device is added), device, state of the device, listings by id. No reading of a
device is accounted while its state is locked.

Failures: domain errors of `core.errors`; nothing is changed then.
"""
