"""Which broker it is: the only room that knows all adapters."""
