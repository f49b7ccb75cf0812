"""The floor of ingestion: a bare aiomqtt loop that acknowledges each message by hand, and no more.

    python -m bench.floor PORT CLIENT_ID MESSAGES

Prints the messages per second between the first and the last, as a bare number.
"""

import sys
from time import perf_counter

import aiomqtt
import uvloop


async def drain(port: int, client_id: str, messages: int) -> float:
    client = aiomqtt.Client("127.0.0.1", port, identifier=client_id, clean_session=False)
    client._client.manual_ack_set(True)
    received, began = 0, 0.0
    async with client:
        async for message in client.messages:
            began = began or perf_counter()
            client._client.ack(message.mid, message.qos)
            received += 1
            if received == messages:
                break
    return messages / (perf_counter() - began)


if __name__ == "__main__":
    print(uvloop.run(drain(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
