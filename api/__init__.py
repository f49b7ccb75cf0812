"""HTTP: the REST API under `/api/v1`, health and metrics.

What runs: `server.run`, one process of it or many. `app.create_app` puts it together: middleware,
routers, one table of errors. A router module holds routes and the models of their bodies; what
takes more than one step is a use case in a file of its own, which opens its own transaction.

Invariants: every answer is in the envelope and carries its request id; an answer that says
"done" was committed before; nothing is told of why the server failed but in its log; a request
that names an Idempotency-Key takes effect once; passwords never touch the event loop.

How it fails: the database away is 503 with `Retry-After`, and healed by itself; Redis away is
"degraded" and no more. Imported by `solarhub` only; redis is for rate limits and readiness.
"""
