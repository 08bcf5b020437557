"""What stations do with columns of ticks in Python, done by one call into C++: the same numbers, several times as fast.

Replays use it where a compiler is, or was. Invariant: the plain form in its room is the reference, and nothing that
comes of a run tells which of the two it was.
"""
