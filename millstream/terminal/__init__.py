"""What commands share on the terminal: options, times, reports about users, read-only access."""
