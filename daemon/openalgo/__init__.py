"""OpenAlgo as the daemon speaks it, an adapter: REST calls, one WebSocket for ticks and for pushes of orders."""
