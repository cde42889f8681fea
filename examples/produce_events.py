"""Send events to Millstream: what a service does after a click, and how a file is replayed.

Run it against a broker on this machine (`millstream broker`, then `millstream topics create`):

    python examples/produce_events.py [HOST:PORT]
"""

import sys
import time

from producers import BadEvent, Event, EventSender, KafkaSettings, Pacer, dataset, paced

kafka = KafkaSettings(bootstrap_servers=sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092")

with EventSender(kafka, topic="events") as sender:
    # One event, when it happens. `id` lets the worker drop a repetition, should your service send it twice.
    now_ms = int(time.time() * 1000)
    sender.send(
        Event(
            user="u-17850",
            item="85123A",
            type="click",
            ts=now_ms,
            id=f"web-{now_ms}",
            session="s-1",
            context={"device": "ios", "country": "GB"},
        )
    )

    # What the worker would not learn from is refused here, with the reason, and nothing is sent.
    try:
        sender.send(Event(user="", item="85123A", type="click"))
    except BadEvent as error:
        print(f"refused: {error}")

    # A recorded stream, a million times as fast as it was recorded: 28 days of a web shop in 2.4 seconds.
    for event in paced(dataset("otto-mini").events(), Pacer(speed=1_000_000)):
        sender.send(event)

    sender.flush()  # returns when the brokers have everything; raises when something was lost
    print(f"sent {sender.num_sent} events, {sender.num_delivered} acknowledged")
