"""A small MQTT 3.1.1 client for one purpose: to acknowledge a message after its commit.

`codec` encodes and decodes packets; `receive_buffer` holds what was received and not acknowledged.
Both are pure. `connection` is the asyncio protocol between them and the network.

Invariants: a message is acknowledged only when its reader says so. What is held is bounded by bytes
(the connection stops reading) and by count (the broker's window). No input makes the codec raise
anything but `MalformedPacketError`, and memory stays bounded whatever the broker sends.

How it fails: every lost, refused or silent connection is an `MqttError`. It does not reconnect:
that is the caller's decision (`ingest.subscriber`). There are no wills, no QoS 2, no MQTT 5.

The package knows nothing of the hub. Imported by `ingest` only.
"""
