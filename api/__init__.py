"""The REST API under `/api/v1`, with health, metrics, documentation and the control room's page.

`http.server.run` is the process; any number of them may run. Each noun has a folder: `routes` hold
the HTTP side and the models of bodies. Where a noun needs them, `service` has the use cases that
take more than one step, and `views` what clients see. `http` is the framework under them.

Invariants: a response that reports success is sent after the commit. A use case opens its own
transaction. A request that names an `Idempotency-Key` takes effect once. Passwords are hashed in
threads, never on the event loop. The type of a route's caller (`Host`, `Admin`, …) says who may
call it.

Failures: see `http`. Only `solarhub` imports this package; only `http` uses redis.
"""
