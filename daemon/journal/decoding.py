"""The text of a journaled event → the event.

Invariant: an amount of money or a price is a number that can be reckoned with; nothing fills at less than 0,
at which worthless options are settled.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from daemon.core.events import Event, Fill

UNDECODABLE: Final = (msgspec.DecodeError, TypeError, ValueError, RecursionError)
"""What `decode` raises."""
_MOST_DIGITS: Final = 18
"""Before the decimal point: more than any amount of rupees here has."""


def decode(kind: type[Event], body: Any) -> Event:
    """Raises one of `UNDECODABLE` where `body` holds no event of `kind`."""
    decoder, has_amounts = _decoder(kind)
    event = decoder.decode(body)
    if has_amounts:
        for name, amount in _amounts(event):
            if not amount.is_finite() or amount.adjusted() >= _MOST_DIGITS:
                raise ValueError(f"{name} is {amount:.6}, no amount")
    if isinstance(event, Fill) and (event.price < 0 or event.quantity <= 0):
        raise ValueError(f"{event.quantity} at {event.price}; a fill's quantity is above 0, its price not below")
    return event


@functools.cache
def _decoder(kind: type[Event]) -> tuple[msgspec.json.Decoder[Event], bool]:
    """With whether such an event has amounts."""
    return msgspec.json.Decoder(kind), "DecimalType" in repr(msgspec.inspect.type_info(kind))


def _amounts(value: Any, name: str = "") -> Iterator[tuple[str, Decimal]]:
    """Each with the name of its field, also those of what an event holds."""
    if isinstance(value, Decimal):
        yield name, value
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _amounts(getattr(value, field), field)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _amounts(item, name)
