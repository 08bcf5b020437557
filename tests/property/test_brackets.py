"""No history of decisions, fills, refusals, kills and slow cancels sells what is held twice, or leaves it bare."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.core.events import PROTECTION, Action, OrderType, ProtectionFailed, Side
from tests.bracket_desk import BracketDesk
from tests.depth import examples
from tests.samples import SBIN

PICK = st.integers(0, 9)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from((Action.BUY_LONG, Action.SELL_SHORT)), st.integers(1, 60)),
        st.tuples(st.just("rest"), st.sampled_from((Action.BUY_LONG, Action.SELL_SHORT)), st.integers(1, 60)),
        st.tuples(st.just("close"), st.none(), st.none()),
        st.tuples(st.just("hand"), st.sampled_from(Side), st.integers(1, 60)),
        st.tuples(st.just("fill"), PICK, st.integers(1, 60)),
        st.tuples(st.just("fill a leg"), PICK, st.integers(1, 60)),
        st.tuples(st.just("let go"), PICK, st.none()),
        st.tuples(st.just("reject"), PICK, st.none()),
        st.tuples(st.just("pass"), st.sampled_from((0.1, 1.0, 7.0)), st.none()),
        st.tuples(st.just("kill"), st.none(), st.none()),
        st.tuples(st.just("halt"), st.none(), st.none()),
        st.tuples(st.just("resume"), st.none(), st.none()),
    ),
    max_size=30,
)
PRICES = {
    Action.BUY_LONG: {"stop_price": 790.0, "target_price": 820.0},
    Action.SELL_SHORT: {"stop_price": 810.0, "target_price": 780.0},
}


def step(desk: BracketDesk, kind: str, first: Any, second: Any) -> None:
    """One thing that happens, where it can."""
    if kind == "enter":
        desk.decide(first, second, **PRICES[first])
    elif kind == "rest":
        desk.decide(first, second, limit_price=799.0 if first is Action.BUY_LONG else 801.0, **PRICES[first])
    elif kind == "close":
        desk.decide(Action.CLOSE_LONG if desk.position > 0 else Action.CLOSE_SHORT)
    elif kind == "hand":
        desk.by_hand(first, second)
    elif kind == "pass":
        desk.pass_s(first)
    elif kind == "kill":
        desk.restart()
    elif kind == "halt":
        desk.halt()
    elif kind == "resume":
        desk.resume()
    else:
        which = {
            "fill a leg": [it for it in desk.working if desk.intents[it].strategy == PROTECTION],
            "let go": sorted(desk.leaving),
        }.get(kind, list(desk.working))
        if which:
            order_id = which[first % len(which)]
            {"fill": desk.fill, "fill a leg": desk.fill}.get(kind, lambda it, _: _END[kind](desk, it))(order_id, second)


_END = {"let go": BracketDesk.let_go, "reject": BracketDesk.reject}


def closers(desk: BracketDesk, *, stops: bool) -> int:
    """Units that the orders which stay would close: all others with the stops, or with the targets."""
    side = Side.SELL if desk.position > 0 else Side.BUY
    return sum(
        desk.working[order_id]
        for order_id in desk.orders(side=side)
        if desk.intents[order_id].reduces
        and (desk.intents[order_id].strategy != PROTECTION or (desk.intents[order_id].reason == "stop") is stops)
    )


@settings(max_examples=examples(120), deadline=None)
@given(steps=STEPS)
@example(steps=[("enter", Action.BUY_LONG, 50), ("fill", 0, 20), ("fill a leg", 1, 10), ("kill", None, None)])
@example(
    steps=[("enter", Action.BUY_LONG, 50), ("fill", 0, 50), ("close", None, None), ("fill a leg", 0, 20),
           ("kill", None, None), ("fill a leg", 1, 60)],
)  # fmt: skip
def test_exits_never_exceed_what_is_held_and_nothing_stays_bare(steps: list[tuple[str, Any, Any]]) -> None:
    """After every step what stays on the market closes at most what is held; when it is quiet, all of it, or nothing.

    A leg that is being taken off may still fill, and both of a pair may: then what is left is closed.
    """
    desk = BracketDesk()
    desk.at(800.0)
    desk.pass_s()
    for kind, first, second in steps:
        step(desk, kind, first, second)
        assert closers(desk, stops=True) <= abs(desk.position)
        assert closers(desk, stops=False) <= abs(desk.position)
    for order_id in desk.orders(type=OrderType.LIMIT, reduces=False):
        desk.let_go(order_id)
    desk.resume()
    desk.settle()
    legs = [desk.intents[order_id] for order_id in desk.working]
    assert all(leg.strategy == PROTECTION for leg in legs)
    bracket = desk.actor.book.brackets.of.get(SBIN)
    if not desk.position:
        assert desk.working == {}
        assert bracket is None
    elif bracket is not None:
        assert closers(desk, stops=True) == abs(desk.position)
        assert not bracket.stray
    assert desk.actor.book.of(SBIN).position == desk.position
    assert all(failed.reason for failed in desk.said(ProtectionFailed))
