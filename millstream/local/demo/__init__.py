"""`millstream demo`: broker, topics, worker, producer and subscriber on one machine, and a view of what happens."""
