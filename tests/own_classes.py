"""Strategies of a user's folder, well and sick, as files; and the settings under which they decide every minute."""

from __future__ import annotations

from pathlib import Path

MOMENTUM = """\
from strategies.own import Parameters as P, buy, close, hold
class Momentum:
    class Parameters(P):
        bars: int = 3
    def decide(self, seen):
        if len(seen.bars) <= self.parameters.bars: return hold("too few bars")
        rises = seen.price > seen.closes[-1 - self.parameters.bars]
        return (hold("held") if seen.position else buy(10, "it rises")) if rises else close("it falls")
"""
"""Eight lines that trade."""

NAME = "my_folder.module:Momentum"

EVERY_MINUTE = (
    "supervisor.ladder=[rules, flat]", "strategy.interval=1m", "bars.intervals=[1m, 5m, 30m, 1d]",
    "risk.stale_after_s=100000", "strategy.rules.min_bars=36",
)  # fmt: skip


def write_class(folder: Path, text: str = MOMENTUM, module: str = "my_folder.module") -> Path:
    """The file, in a package of the folder."""
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def own(folder: Path, name: str = NAME, *more: str) -> tuple[str, ...]:
    """Overrides that put the class of the folder in charge."""
    return (*EVERY_MINUTE, f"strategy.path={folder}", f"strategy.name={name}", *more)


SICK = {
    "raises": ("return 1 / 0", "my_folder/module.py, line 4: ZeroDivisionError: division by zero"),
    "exits": ("raise SystemExit(7)", "my_folder/module.py, line 4: SystemExit: 7"),
    "quits": ("quit()", "my_folder/module.py, line 4: SystemExit"),
    "mutates": (
        "seen.closes[-1] = 0.0; return hold('x')",
        "my_folder/module.py, line 4: ValueError: assignment destination is read-only",
    ),
    "sets": ("seen.position = 5; return hold('x')", "my_folder/module.py, line 4: AttributeError: immutable type"),
    "remembers": (
        "self.count = 1; return hold('x')",
        "my_folder/module.py, line 4: AttributeError: self.count can't change between bars",
    ),
    "nothing": ("pass", "my_folder/module.py, line 3: decide answered nothing (None): expected buy"),
    "garbage": ("return {'action': 'buy'}", "decide answered {'action': 'buy'}: expected buy"),
    "nan units": ("return buy(float('nan'), 'x')", "line 4: TypeError: quantity: expected a whole number"),
    "no units": ("return buy(0, 'x')", "line 4: ValueError: quantity: expected 1 to 10,000,000 units, got 0"),
    "nan belief": ("return buy(1, 'x', confidence=float('nan'))", "confidence: expected a finite number, got nan"),
    "free": ("return buy(1, 'x', limit=0)", "line 4: ValueError: limit: expected a price above 0, got 0"),
    "nan limit": ("return buy(1, 'x', limit=float('nan'))", "limit: expected a finite number, got nan"),
    "nan stop": ("return buy(1, 'x', stop=float('nan'))", "stop: expected a finite number, got nan"),
    "odd stop": ("return buy(1, 'x', limit=9, stop=10)", "stop: expected one below the price of 9 at which to buy"),
    "odd target": ("return buy(1, 'x', target=0.5)", "target: expected one above the price of"),
    "no text": ("return hold(None)", "line 4: TypeError: reason: expected a text, got None"),
    "made by hand": (
        "from strategies.own import Answer, Act; "
        "return Answer(act=Act.BUY, quantity=1.5, reason='x', confidence=0.1)",
        "my_folder/module.py, line 3: quantity: expected a whole number of units, got 1.5",
    ),
    "recursion": ("return self.decide(seen)", "my_folder/module.py, line 4: RecursionError"),
    "odd message": (
        "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "my_folder/module.py, line 4: Odd: its message can't be read",
    ),
    "somewhere": ("return object()", "decide answered <object object>: expected buy"),
    "half a character": ("raise ValueError('b\\ud800d \\x1b[31m')", r"line 4: ValueError: b\ud800d \x1b[31m"),
    "stops": ("raise StopIteration", "my_folder/module.py, line 4: StopIteration"),
    "interrupts": ("raise KeyboardInterrupt", "my_folder/module.py, line 4: KeyboardInterrupt"),
}  # fmt: skip
"""By kind: the body of `decide`, and what the failed decision says."""


def sick(body: str) -> str:
    """A class whose `decide` does that."""
    return f"from strategies.own import buy, hold\nclass Momentum:\n    def decide(self, seen):\n        {body}\n"
