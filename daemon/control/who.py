"""Who gave a command → the fields by which the command says so."""

from __future__ import annotations

from daemon.core.events import Event


def said_by(kind: type[Event], who: str) -> dict[str, str]:
    """`who`, for a kind of command that has room for it; the journal's `ControlAction` names who asked in any case."""
    return {"who": who} if "who" in kind.__struct_fields__ else {}
