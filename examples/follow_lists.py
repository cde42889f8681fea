"""Follow the lists that Millstream publishes, and keep the newest one of every user.

Run it against a broker on this machine while a worker runs:

    python examples/follow_lists.py [HOST:PORT [SECONDS]]
"""

import sys
import time

from producers import KafkaSettings, ListSubscription

kafka = KafkaSettings(bootstrap_servers=sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092")
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")

newest: dict[str, list[str]] = {}
end = time.monotonic() + seconds

# From the earliest: the topic keeps the newest list of every user, so that a cache is warm before it serves anybody.
with ListSubscription(kafka, "recommendations", start="earliest") as subscription:
    while time.monotonic() < end:
        for user, recommendation, _ in subscription.poll(timeout_seconds=0.5):
            if recommendation is None:
                newest.pop(user, None)  # the user was erased
                continue
            newest[user] = [ranked.item for ranked in recommendation.items]
            age_seconds = time.time() - recommendation.generated_at / 1000
            print(f"{user}: {', '.join(newest[user][:3])}… ({age_seconds:.2f} s old)")

print(f"{len(newest)} users have a list")
