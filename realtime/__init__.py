"""The live feed: committed events → Redis → clients' WebSockets.

Two processes run here. `relay.run` takes events from the outbox and publishes them to Redis with a
history per channel. Several relays may run; one is active. `server.run` is a realtime process:
clients sign in, subscribe and resume on its sockets. Any number may run.

Invariants: an event is published if and only if its transaction committed. The events of one
listing or one user stay in order. A client gets every event after its position once, or learns that
too much was missed. `user` and `device:<id>` events reach their owner only.

Failures: while Redis is unavailable the outbox keeps all events. While the database is unavailable
there is nothing new to publish; connected clients stay, and new ones are refused with 4500. A
realtime process closes its clients with 4500 if three heartbeats of the relay are missing or Redis
lost its data; they reconnect and resume. A client that reads too slowly is closed with 4408
(`hub` for events, `session` for responses, `resuming` while it catches up), a client of a
deactivated user with 4401, within about a second.

Only `solarhub` and `bench` import this package.
"""
