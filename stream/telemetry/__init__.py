"""What a worker says of itself: metrics, health, and how much lists change."""
