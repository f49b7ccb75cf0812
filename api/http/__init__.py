"""The HTTP framework of the API: what all routes share.

`server.run` opens the `services`, builds the `app` and serves it until cancelled. A request passes
`connection_limits` (size of the head, slow clients), `middleware` (id, headers, timeout, errors),
`body_limits`, `dispatch` (parameters, answer) and `authorization` (token, changes, account, role).

Invariants: every response to a path of the API is in the `envelope` and carries its request id.
`errors` makes the response to every exception; the reason of an internal error is in the log only.
A body is read after the caller is authorized. Every task is owned by `server.run`: if one fails,
the process stops serving and raises.

Failures: without the database 503 with `Retry-After`, until it is back; without Redis sign-ins are
not limited. Nothing here knows a noun except `app` and `services`, which put the nouns together.
"""
