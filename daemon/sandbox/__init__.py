"""A local exchange that speaks Fyers' REST API and order socket, and misbehaves on request."""
