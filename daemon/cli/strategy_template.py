"""What `hrmd new strategy NAME` writes: a strategy with every part explained, its test, and settings that name it."""

STRATEGY = '''\
"""{title}: say here in a sentence what it believes, and why anybody should pay for it."""

from pydantic import Field

from strategies.own import Answer, Observation, Parameters, buy, close, hold


class {kind}:
    """Buys what closes above its highest close of a while, and sells what closes below the lowest."""

    class Parameters(Parameters):
        """What may be set under strategy.parameters; whatever else stands there is refused."""

        bars: int = Field(20, ge=2, le=400)  # how many bars "a while" is
        quantity: int = Field(10, ge=1)  # units of an entry; the limits of risk may make it smaller

    parameters: Parameters

    def decide(self, seen: Observation) -> Answer:
        """Asked at the close of every bar, of every instrument; the answer is all that it may do.

        What is `seen` can't be changed, and nothing can be kept on `self`: a decision is made of what is seen alone,
        so that a restart in the middle of the day, a replay and `hrmd verify` come to the same.
        """
        look_back = self.parameters.bars
        if len(seen.bars) <= look_back:
            return hold("too few bars")
        before = seen.closes[-1 - look_back : -1]
        if seen.position > 0:
            return close("below the lowest close") if seen.price < before.min() else hold("still rising")
        if not seen.may_enter:  # the last minutes of a session
            return hold("too late to open anything")
        if seen.price > before.max():
            # stop= and target= of buy and sell stand at the venue, and close the position by themselves
            return buy(self.parameters.quantity, f"above the highest of {{look_back}} closes", stop=float(before.min()))
        return hold("inside its range")
'''

TEST = '''\
"""{title} without a market: python -m unittest test_{name} (pytest runs it as well)."""

import unittest

from {name} import {kind}
from strategies.own import Act, made, seen


class Test{kind}(unittest.TestCase):
    """Each answer has its reason."""

    def setUp(self) -> None:
        """A strategy that looks back three bars."""
        self.strategy = made({kind}, bars=3, quantity=5)

    def test_buys_a_new_high(self) -> None:
        """As many as its parameter says."""
        answer = self.strategy.decide(seen([100.0, 101.0, 100.5, 102.0]))
        self.assertEqual((answer.act, answer.quantity), (Act.BUY, 5))

    def test_leaves_at_a_new_low(self) -> None:
        """Only what is held."""
        falling = [100.0, 101.0, 100.5, 99.0]
        self.assertEqual(self.strategy.decide(seen(falling, position=5)).act, Act.CLOSE)
        self.assertEqual(self.strategy.decide(seen(falling)).act, Act.HOLD)

    def test_opens_nothing_late(self) -> None:
        """However good it looks."""
        self.assertEqual(self.strategy.decide(seen([1.0, 2.0, 3.0, 4.0], may_enter=False)).act, Act.HOLD)


if __name__ == "__main__":
    unittest.main()
'''

SETTINGS = """\
# Laid over hrmd's own settings: hrmd replay TAPE -c {name}.yaml (all that can be set: hrmd check --show)
strategy:
  name: {name}:{kind}
  parameters:
    bars: 20
    quantity: 10
supervisor:
  ladder: [rules, flat]  # who takes over should {kind} fail three times in a row; [flat]: nobody, positions are closed
"""
