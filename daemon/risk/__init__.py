"""Decisions → order intents, each approved or denied: nothing reaches the venue that did not pass here."""
