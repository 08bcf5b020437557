"""Agents that decide beside the one in charge, each with a market, an account and limits of its own, on paper."""
