"""Where ticks come from: recorded tapes, imports and the simulator; nothing here trades.

Invariant: every tick that enters is either handed on in arrival order or counted with the reason why not.
"""
