"""Ways to run the path: as a service, as a replay, as a recorder, and again to verify."""
