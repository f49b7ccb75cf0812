"""The MQTT broker of a hub that has none: MQTT 3.1.1, in the process, in memory.

What runs: `listener.running`. A connection (`connection`) is admitted (`admission`), signs in
(`access`), gets the session of its user and client id (`sessions`), and then its packets
(`client_packets`, strict and pure) are handled one by one (`packet_handler`). Messages go to
`router`: amqtt, which listens nowhere and sees only what was checked.

Invariants: before a client has proven who it is, nothing of a session, of a will or of a retained
message changes. A session belongs to a user and a client id, and has one connection at most; the
newer one ends the older. What is published, wills included, is in a topic of its publisher. Whoever
signed in as what is no longer so is ended, and nothing of it counts from then on. `limits` bound
everything that a client can make grow.

How it fails: what is not MQTT ends its connection. Without the database nobody new is let in
(CONNACK 3). Everything is in memory, and gone with the process. Imported by `solarhub` only.
"""
