"""The scorer that reads the history of a user with a small recurrent network."""
