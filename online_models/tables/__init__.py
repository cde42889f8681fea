"""Tables that grow, decay, save and load."""
