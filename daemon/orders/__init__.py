"""Approved intents → orders at a venue and fills, on paper and at a broker."""
