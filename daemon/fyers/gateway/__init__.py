"""Fyers' data socket in a process of its own: the SDK in, length-prefixed frames of ticks and news out.

Invariant: nothing of the SDK is imported, printed or blocked on in the daemon's own process.
"""
