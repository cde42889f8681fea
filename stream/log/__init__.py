"""The event log that a worker stands on: its protocols, Kafka, and one in memory."""
