"""Fills → positions and money."""
