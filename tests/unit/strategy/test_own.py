"""A class of a user's own as a strategy: what it is told, what its answers become, and how it fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.core.errors import SettingsError
from daemon.core.events import Action, Decision
from daemon.strategy.own import OwnStrategy, build_own
from strategies.base import RAISED, Moment
from strategies.own import buy, close, hold, made, observed, seen, sell
from tests.own_classes import NAME, SICK, own, sick, write_class
from tests.samples import settings_of
from tests.unit.strategies.moments import moment_of, rising


def built(folder: Path, text: str, *more: str) -> OwnStrategy:
    """The strategy of a file with that text."""
    write_class(folder, text)
    return build_own(settings_of(*own(folder, NAME, *more)))


def decided(strategy: OwnStrategy, moment: Moment) -> Decision:
    """On a thread, as in the daemon."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(strategy.decide, moment).result()


@pytest.mark.parametrize("kind", SICK)
def test_what_goes_wrong_is_a_failed_decision_with_its_line(tmp_path: Path, kind: str) -> None:
    """Whatever the class does, nobody else notices."""
    body, said = SICK[kind]
    moment = moment_of(rising(60))
    before = moment.bars.copy()
    decision = decided(built(tmp_path, sick(body)), moment)
    assert (decision.action, decision.failed, decision.halt_reason) == (Action.HOLD, True, RAISED)
    assert said in decision.reason
    assert decision.reason.isprintable()
    msgspec.json.encode(decision)
    np.testing.assert_array_equal(moment.bars, before)


def test_answers_become_decisions(tmp_path: Path) -> None:
    """Each by what is held; a close of nothing is nothing, a close is of all."""
    text = "from strategies.own import {0}\nclass Momentum:\n    def decide(self, seen): return {1}\n"
    for answer, position, action, quantity in (
        ("buy(7, 'up')", 0, Action.BUY_LONG, 7),
        ("sell(7, 'down')", 0, Action.SELL_SHORT, 7),
        ("buy(7, 'up', limit=99.5)", 0, Action.BUY_LONG, 7),
        ("buy(7, 'up', stop=98.5, target=900)", 0, Action.BUY_LONG, 7),
        ("close('out')", 30, Action.CLOSE_LONG, 30),
        ("close('out')", -30, Action.CLOSE_SHORT, 30),
        ("close('out')", 0, Action.HOLD, 1),
        ("hold('wait')", 30, Action.HOLD, 1),
    ):
        strategy = built(tmp_path, text.format(answer.partition("(")[0], answer))
        decision = decided(strategy, moment_of(rising(60), position=position))
        assert (decision.action, decision.quantity, decision.failed) == (action, quantity, False)
        assert decision.limit_price == (99.5 if "limit" in answer else 0.0)
        both = (decision.stop_price, decision.target_price)
        assert both == ((98.5, 900.0) if "stop" in answer else (0.0, 0.0))
        assert (decision.strategy, decision.model_hash) == (NAME, strategy.model_hash)


def test_a_reason_can_be_kept_and_shown(tmp_path: Path) -> None:
    """Half a character (as of a file's name) and what commands a terminal are written out: a journal takes them."""
    body = "return buy(1, 'a \\ud800\\n b\\x1b[31m \\u20b9é')"
    decision = decided(built(tmp_path, sick(body)), moment_of(rising(60)))
    assert (decision.action, decision.reason) == (Action.BUY_LONG, r"a \ud800 b\x1b[31m ₹é")
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision


def test_the_hash_is_of_source_and_parameters(tmp_path: Path) -> None:
    """Either changes it, and nothing else."""
    write_class(tmp_path)
    hashes = [
        build_own(settings_of(*own(tmp_path, NAME, *more))).model_hash
        for more in ((), ("strategy.parameters.bars=3",), ("strategy.parameters.bars=4",), ("risk.max_daily_loss=5",))
    ]
    assert hashes[0] == hashes[1] == hashes[3] != hashes[2]


def test_what_it_prints_is_no_output_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At import and in a decision: it goes to the log, and a thread beside it prints as ever."""
    text = "print('at import')\n" + sick("print('in a decision'); return hold('x')")
    assert not decided(built(tmp_path, text), moment_of(rising(60))).failed
    print("ours")  # noqa: T201 — that is what is tested
    out = capsys.readouterr().out.splitlines()
    assert "ours" in out
    assert not [line for line in out if line in ("at import", "in a decision")]


def test_an_init_that_raises_refuses_the_start(tmp_path: Path) -> None:
    """In a line, with its place."""
    text = sick("return hold('x')") + "    def __init__(self): self.x = {}['gone']\n"
    with pytest.raises(SettingsError, match=r"can't be made: my_folder/module\.py, line 5: KeyError: 'gone'"):
        built(tmp_path, text)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("files = None", "files: expected a list of paths such as"),
        ("files = 'weights.bin'", "got 'weights.bin'"),
        ("@property\n    def files(self): raise KeyError('x')", "my_folder/module.py, line 4: KeyError: 'x'"),
        ("def __new__(cls): return None", "Momentum.__new__ made None, expected an instance of the class"),
    ],
)
def test_a_class_that_can_not_be_had_is_refused_in_a_line(tmp_path: Path, body: str, said: str) -> None:
    """It is the user's mistake, and no fault of ours."""
    text = (
        f"from strategies.own import hold\nclass Momentum:\n    {body}\n    def decide(self, seen): return hold('x')\n"
    )
    with pytest.raises(SettingsError) as refused:
        built(tmp_path, text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_init_sets_is_there(tmp_path: Path) -> None:
    """Parameters are there before it."""
    text = """\
from strategies.own import Parameters, buy
class Momentum:
    class Parameters(Parameters):
        units: int = 4
    def __init__(self): self.twice = 2 * self.parameters.units
    def decide(self, seen): return buy(self.twice, "x")
"""
    assert decided(built(tmp_path, text), moment_of(rising(60))).quantity == 8


def test_where_it_hangs_is_said_and_its_thread_ends(tmp_path: Path) -> None:
    """The line that it is at; once it is left it is asked to end."""
    strategy = built(tmp_path, sick("while True: pass"))
    thread = threading.Thread(target=strategy.decide, args=(moment_of(rising(60)),), daemon=True)
    thread.start()
    while not strategy.where():
        thread.join(0.01)
    assert strategy.left() == "my_folder/module.py, line 4"
    thread.join(30)
    assert not thread.is_alive()


def test_what_can_not_be_pickled_is_nobodys_business(tmp_path: Path) -> None:
    """A class may keep a lock, a file, a lambda: nothing is sent anywhere."""
    text = sick("return hold(self.said())") + (
        "    def __init__(self):\n        import threading as t\n        self.lock, self.said = t.Lock(), lambda: 'x'\n"
    )
    strategy = built(tmp_path, text)
    assert decided(strategy.renewed(), moment_of(rising(60))).reason == "x"


def test_an_observation_of_a_moment() -> None:
    """Every field, in the units that it says."""
    moment = moment_of(rising(60), position=-20)
    look = observed(moment)
    assert (look.symbol, look.position, look.price) == (moment.symbol, -20, moment.price)
    np.testing.assert_array_equal(look.bars.highs, moment.bars[:, 1])
    assert int(look.time.timestamp()) * 10**9 == moment.ts
    assert len(look.today) == min(moment.session_bars, len(moment.bars))
    assert len(look.bars.last(0)) == 0


def test_a_strategy_can_be_tried_out_alone() -> None:
    """`made` and `seen`, as the template's test uses them."""

    class Plain:
        def decide(self, look: object) -> object:
            return hold("x")

    assert made(Plain).decide(seen([100.0, 101.0])) == hold("x")
    assert (seen([100.0, 101.0]).price, seen([1.0], position=5).position) == (101.0, 5)
    assert [answer.act.value for answer in (buy(1, "a"), sell(1, "b"), close("c"))] == ["buy", "sell", "close"]
