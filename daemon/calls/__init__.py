"""Calls to a venue, whoever the broker: when one may go, that it goes once, what became of it, what is kept secret."""
