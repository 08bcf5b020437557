"""Alerts → what somebody reads: a title of a few words, and lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from daemon.core.events import AlertChanged, Severity

MAX_CHARS: Final = 3000
"""Of a body: the shortest limit among the usual services is 4,096."""


class Message(msgspec.Struct, frozen=True):
    """To be sent; `keys` are those of the alerts that it tells of."""

    title: str
    body: str
    severity: Severity
    keys: tuple[str, ...] = ()
    over: bool = False
    """Whether it says that something has cleared."""


def told(change: AlertChanged) -> Message:
    """One alert."""
    words = change.kind.replace("_", " ")
    if not change.raised:
        return Message(f"hrmd: cleared: {words}", f"over: {change.text}", change.severity, (change.key,), over=True)
    title = f"hrmd: {change.severity.value.upper()}: {words}"
    return Message(title, change.text, change.severity, (change.key,))


def joined(messages: Sequence[Message]) -> Message:
    """What has waited, in one: a service that was away gets no storm. At least one message."""
    if len(messages) == 1:
        return messages[0]
    gravest = max((one.severity for one in messages), key=lambda severity: severity.rank)
    lines, room = [], MAX_CHARS
    for number, one in enumerate(messages):
        line = f"{one.title.removeprefix('hrmd: ')}: {one.body}"
        if len(line) >= room:
            lines.append(f"… and {len(messages) - number} more: hrmd ctl health")
            break
        lines.append(line)
        room -= len(line) + 1
    keys = tuple(dict.fromkeys(key for one in messages for key in one.keys))
    over = all(one.over for one in messages)
    return Message(f"hrmd: {len(messages)} alerts, {gravest.value}", "\n".join(lines), gravest, keys, over)
