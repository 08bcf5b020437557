"""Local HTTP: what the daemon shows and the commands it takes, on loopback, behind a bearer token."""
