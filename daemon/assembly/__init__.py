"""How each station of `daemon.app` is put together: settings, a plan and what was built before in, one station out."""
