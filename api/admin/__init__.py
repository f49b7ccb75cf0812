"""Administration: users, decisions on devices, flags, the audit, items set aside, control room.

`service` decides on devices, and `audits` runs one audit at a time in each process. The other
modules are routes; most of them only read.

Invariants: only administrators get past the dependency `Admin` in the signature of every route.
Each decision is recorded with its administrator and reason in the transaction that makes it. Locks:
device, state of the device, listings by id.

Failures: domain errors of `core.errors`. An audit that fails answers everybody who waits for it.
"""
