"""`--param KEY=…` → what a sweep may try for a setting, as Optuna's distributions.

`KEY=1:10` whole numbers, `KEY=1:10:2` in steps, `KEY=0.1:10` numbers, `KEY=0.001:1:log` over magnitudes, `KEY=a,b,c`
one of these. Invariant: what can't be tried is refused in one line before anything is played.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daemon.core.errors import UsageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FORMS = "LOW:HIGH, LOW:HIGH:STEP, LOW:HIGH:log or A,B,C"


def space_of(params: Sequence[str]) -> dict[str, BaseDistribution]:
    """By setting, in the order given. Raises `UsageError`."""
    space: dict[str, BaseDistribution] = {}
    for text in params:
        key, separator, values = text.partition("=")
        if not separator or not key or not values:
            raise UsageError(f"--param {text!r}: expected a.b.c={FORMS}")
        if key in space:
            raise UsageError(f"--param {key}: given twice")
        space[key] = _distribution(text, values)
    if not space:
        raise UsageError(f"--param: name at least one setting to try, as a.b.c={FORMS}")
    return space


def ends_of(distribution: BaseDistribution) -> list[object]:
    """Each choice, or the least and the greatest number."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def points_of(space: Mapping[str, BaseDistribution]) -> int | None:
    """How many different trials there are; None where a number has no step, for then there is no end of them."""
    counts = []
    for one in space.values():
        values = _values(one)
        if values is None:
            return None
        counts.append(len(values))
    return math.prod(counts)


def check_grid(space: Mapping[str, BaseDistribution]) -> None:
    """Raise `UsageError` for a setting that a grid has no steps for, one over magnitudes among them."""
    for key, one in space.items():
        if _values(one) is None or getattr(one, "log", False):
            raise UsageError(f"--param {key}: a grid needs steps: LOW:HIGH:STEP or A,B,C")


def point_of(space: Mapping[str, BaseDistribution], place: int) -> dict[str, Any]:
    """The trial at a place of the grid of all of them, the last setting fastest; there is one (`points_of`)."""
    point = {}
    for key in reversed(list(space)):
        values = _values(space[key])
        assert values is not None
        place, at = divmod(place, len(values))
        point[key] = values[at]
    return point


def _values(distribution: BaseDistribution) -> Sequence[Any] | None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    return None if step is None else [low + place * step for place in range(round((high - low) / step) + 1)]


def _distribution(text: str, values: str) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    parts = values.split(":")
    if len(parts) == 1:
        choices = list(dict.fromkeys(part.strip() for part in values.split(",")))
        if len(choices) < 2 or not all(choices):
            raise UsageError(f"--param {text!r}: one value is no choice; expected {FORMS}")
        return CategoricalDistribution(choices)
    magnitudes = len(parts) == 3 and parts[2] == "log"
    numbers = parts[:2] if magnitudes else parts
    try:
        whole = all(part.lstrip("+-").isdigit() for part in numbers)
        low, high, *rest = (float(part) for part in numbers)
        if len(rest) > 1:
            raise ValueError("more than a step")
        step = rest[0] if rest else None
        if not low < high or (step is not None and not 0 < step <= high - low) or (magnitudes and low <= 0):
            raise ValueError("not a range")
        if whole:
            return IntDistribution(int(low), int(high), log=magnitudes, step=int(step) if step is not None else 1)
        return FloatDistribution(low, high, log=magnitudes, step=step)
    except (ValueError, OverflowError):
        raise UsageError(f"--param {text!r}: is no range of numbers; expected {FORMS}") from None
