"""What is known of each user: the history and the owned items."""
