"""Fyers as the daemon speaks it, an adapter: REST calls, the order socket, the SDK's gateway, login and history."""
