"""Measurements of the daemon on the machine it is on: what `hrmd bench` runs."""
