"""How well lists did: rank metrics, and the report of events that were ranked before they were learned."""
