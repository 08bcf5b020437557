"""Agents that decide beside the one in charge, with a market and an account of their own on paper; the canary run."""
