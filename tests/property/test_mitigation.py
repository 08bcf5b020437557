"""Whatever goes wrong in whatever order: steps keep their order, days their limit, and a lock holds."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.events import Mitigation
from daemon.supervision.mitigation import MILD, ORDER, REMEDIES, Stairs
from daemon.supervision.triggers import Trigger

LADDER = ("hrm", "ppo", "rules", "flat")
RANKS = {step: rank for rank, step in enumerate(ORDER)}
knows = st.fixed_dictionaries({rung: st.frozensets(st.sampled_from(MILD)) for rung in LADDER[:-1]})
ladders = st.lists(st.sampled_from(LADDER[:-1]), min_size=1, unique=True).flatmap(
    lambda rungs: st.sampled_from([rungs, [*rungs, "flat"]])
)
moves = st.lists(st.tuples(st.sampled_from(Trigger), st.sampled_from(["", "", "", "lock", "unlock", "night"])))


@given(knows, ladders, moves, st.integers(0, 12))
def test_no_step_is_skipped_no_day_is_overdrawn(
    known: dict[str, frozenset[Mitigation]], ladder: list[str], history: list[tuple[Trigger, str]], limit: int
) -> None:
    """Of one strategy steps rise, the next is the mildest remedy left of its trigger, and rungs go one by one."""
    stairs, place, day, taken = Stairs(known, limit), 0, 0, Counter[int]()
    for trigger, other in history:
        day += other == "night"
        if other in ("lock", "unlock"):
            stairs.locked = "by a test" if other == "lock" else ""
        below = ladder[place + 1] if place + 1 < len(ladder) else None
        before = list(stairs.taken)
        step = stairs.next(trigger, ladder[place], below)
        if step is None:
            assert Mitigation.HALT in before
            continue
        if stairs.barred(day):
            continue
        assert not stairs.locked
        stairs.took(step, day)
        taken[day] += 1
        assert taken[day] <= limit
        furthest = max((RANKS[one] for one in before), default=-1)
        assert RANKS[step] > furthest
        open_remedies = [
            one for one in REMEDIES[trigger] if one in known.get(ladder[place], ()) and RANKS[one] > furthest
        ]
        if open_remedies:
            assert step is open_remedies[0]
        else:
            assert step is (
                Mitigation.HALT if below is None else Mitigation.FLAT if below == "flat" else Mitigation.STEP_DOWN
            )
        if step in (Mitigation.STEP_DOWN, Mitigation.FLAT):
            place += 1
            stairs.begin()
