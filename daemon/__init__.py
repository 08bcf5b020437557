"""The daemon: everything between a tick and a fill. `daemon.app` is the map."""

__version__ = "0.1.0"
