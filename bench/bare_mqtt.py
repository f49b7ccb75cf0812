"""The floor of ingestion: a plain aiomqtt loop that only acknowledges each message manually.

    python -m bench.bare_mqtt PORT CLIENT_ID MESSAGES

Prints messages per second between the first and the last, and CPU microseconds per message.
"""

import sys
from time import perf_counter, process_time

import aiomqtt
import uvloop


async def drain(port: int, client_id: str, messages: int) -> str:
    client = aiomqtt.Client("127.0.0.1", port, identifier=client_id, clean_session=False)
    client._client.manual_ack_set(True)
    received, began, cpu_began = 0, 0.0, 0.0
    async with client:
        async for message in client.messages:
            if not received:
                began, cpu_began = perf_counter(), process_time()
            client._client.ack(message.mid, message.qos)
            received += 1
            if received == messages:
                break
    seconds, cpu_s = perf_counter() - began, process_time() - cpu_began
    return f"{messages / seconds} {cpu_s / messages * 1e6}"


if __name__ == "__main__":
    print(uvloop.run(drain(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
