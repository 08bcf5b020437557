"""Fyers as the daemon speaks it: REST calls with three-valued outcomes, the order socket, and the rate budget."""
