"""The risk budget that several daemons share: the service that lends it, and the daemon's side of a lease."""
