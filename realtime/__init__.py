"""Committed events → sockets.

What runs: `relay.run` takes events from the outbox and publishes them to Redis, each channel with
its history beside it; several may run, one is active. `server.run` is a hub process: clients sign
in, subscribe and resume on their sockets; any number of them may run.

Invariants: an event is announced if and only if its transaction committed; the events of one
listing or one user stay in order; a client gets every event after its position once, or is told
that too much was missed; `user` and `device:<id>` events reach their owner only.

How it fails: with Redis away the outbox keeps everything until it is back; with the database away
there is nothing new to tell, and the hub goes on, but lets nobody new in (4500). A hub that misses
three heartbeats of the relay, or whose Redis lost its memory, closes its clients with 4500: they
come again and resume. A client that reads too slowly is closed with 4408, one whose account was
deactivated with 4401, within a second or so. Imported by `solarhub` and `bench` only.
"""
