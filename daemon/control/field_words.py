"""Structs → what each of their fields is, in words, for `/openapi.json`.

The words are those that stand below the field in its struct; a name that means the same everywhere is said once, here.
Invariant: a field without words is an error (a test looks), so the document and the code can't drift apart.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from functools import cache

COMMON = {
    "after_restart": "What the next start does",
    "age_s": "How old what was found is, where it isn't of now; seconds",
    "agreement": "The share of decisions of the same bar with the same action",
    "approved": "Whether risk let it through",
    "average_price": "Rupees a unit",
    "bars": "Bars that closed",
    "before": "The hash of the model that decided until now",
    "changes": "What is to change",
    "check": 'The check of risk that said no, "" where none did',
    "checks": "Every check",
    "close": "Rupees",
    "close_ts": "When the bar ended, UTC nanoseconds",
    "command": "What was taken",
    "complexity": "The market's, 0 to 1",
    "confidence": "Of the strategy in its action, 0 to 1",
    "costs": "Brokerage and statutory charges, rupees",
    "deadline_ms": "Time that a decision has",
    "decisions": "Decisions",
    "denied": "Orders that risk denied, by check",
    "difference": "Profit less that of the one in charge, rupees",
    "direction": "LONG or SHORT",
    "do": "What to do about it",
    "entry_price": "Rupees a unit, average",
    "entry_ts": "When it was opened, UTC nanoseconds",
    "equity": "Cash plus positions at their last prices, rupees",
    "evidence": "What whole sessions say against the one in charge",
    "exit_price": "Rupees a unit, average",
    "exit_ts": "When it was closed, UTC nanoseconds",
    "failed": "Whether it failed; in counts, how many did",
    "feed": "State of the tick source",
    "filled": "Units that were filled",
    "fills": "Fills",
    "gross_pnl": "Before costs, rupees",
    "halt_reason": 'Why the model stopped reasoning, "" where none reasoned',
    "healthy": "Whether no check failed",
    "high": "Rupees",
    "in_charge": "Whether it is the one whose orders are real",
    "interval": "Of the bar, such as 5m",
    "key": "The asker's own name of the order, new for each: asking again with it places nothing more",
    "last_price": "Rupees a unit; null without one",
    "level": "debug, info, warning or error",
    "limit": "What was allowed",
    "limit_price": "Rupees a unit; null where it has none",
    "low": "Rupees",
    "model": 'Its name and the beginning of its hash, "" where none decides',
    "model_hash": "SHA-256 of the model",
    "name": "What it is called",
    "net_pnl": "After costs, rupees",
    "open": "Rupees",
    "open_positions": "Positions that are held",
    "open_ts": "When the bar began, UTC nanoseconds",
    "order_id": "Our own id of the order",
    "orders": "Orders",
    "outline": "The same without symbols and money",
    "part_of": "The check that has the cause, where it is another one",
    "price": "Rupees",
    "quantity": "Units of the instrument; signed where it is held",
    "realised_pnl": "Before costs, rupees",
    "reason": "Why, in one line, for the journal",
    "reasons": "What the checks that failed say",
    "recorded": "Ticks that are on the tape",
    "regime": "The market's: trending, ranging or volatile; unknown where there are too few bars",
    "repeated": "Whether the same answer was given before",
    "runtime": "What runs the model",
    "scope": "What the token may do: read, trade or admin",
    "segments": "Reasoning segments that were used",
    "session": "The day",
    "sessions": "Whole sessions that were compared",
    "side": "BUY or SELL",
    "since_ts": "When it began, UTC nanoseconds",
    "state": "Where it stands",
    "status": "What it came to",
    "strategy": "Which strategy: hrm, ppo, rules, flat, or manual",
    "stop": "Where a stop closes what is held, rupees a unit; null where none does",
    "stop_price": "Of a stop order: rupees at which it trades; null of others",
    "symbol": "Such as NSE:SBIN-EQ",
    "symbols": "Symbols",
    "target": "Where a target closes what is held, rupees a unit; null where none does",
    "text": "What was found",
    "ticks": "Ticks",
    "ticks_accepted": "Ticks that were believed",
    "ticks_rejected": "Ticks that weren't, by reason",
    "trades": "Round trips",
    "trading_reason": 'Why it isn\'t ACTIVE, "" while it is',
    "trading_state": "ACTIVE trades, REDUCING only closes, HALTED sends nothing",
    "ts": "When, UTC nanoseconds",
    "type": "Of the order: market, limit or a stop",
    "unit": "Of value and limit",
    "unrealised_pnl": "At the last price, rupees; null without one",
    "until_ts": "When it ended, UTC nanoseconds",
    "value": "What it was",
    "verdict": "continue, better or worse",
    "version": "Of hrmd",
    "volume": "Units traded",
    "warnings": "What the checks say that are worth a look",
    "whole": "Whether it was there from the open to the close",
    "why": 'What spoke for (+) and against (−) a trade, "" where nobody asked at once',
    "who": "Who asked; of a named token its name is put before it",
    "working_orders": "Orders that work at the venue",
    "worse": "e-value that it is worse",
    "better": "e-value that it is better",
    "clipped": "Sessions whose difference was cut",
    "h_module_confidence": "Of the strategic module, 0 to 1; 0 where no model reasoned",
    "l_module_confidence": "Of the tactical module, 0 to 1; 0 where no model reasoned",
    "adaptive_time_used": "Milliseconds from the bar's close to the decision",
    "action": "BUY_LONG, SELL_SHORT, CLOSE_LONG, CLOSE_SHORT or HOLD",
    "loaded": "Whether it decides from the next bar on",
    "cache_hits": "Decisions that were remembered",
    "bid": "Rupees",
    "ask": "Rupees",
    "strategy_lock_who": "Who locked, or unlocked last",
    "agent": "A shadow agent, by its name",
    "size": "The share of the limits on size that its entries may take",
    "began_ts": "When it began, UTC nanoseconds; null where none did",
    "mean_bp": "Of the sessions' differences, basis points of the starting cash",
    "stage": "none, baseline, training, parallel, gradual or full",
    "next": "The stage after this one",
    "ready": "Whether every gate is passed",
    "decider": "Who decides under the candidate's name, as the training was signed",
    "trouble": "What stands in the way, in words",
    "gates": "What has to be so before the stage is left, with its numbers",
    "history": "Every step so far, oldest first",
    "passed": "Whether it is so",
    "in_charge_bp": "Of the one in charge in that session, basis points of the starting cash",
    "candidate_bp": "Of the candidate in that session, basis points of the starting cash",
    "difference_bp": "The candidate's less that of the one in charge, basis points",
    "latency_p99_ms": "99 % of decisions took no longer; milliseconds",
    "candidate": "A shadow agent, by its name",
    "moved": "Whether it was taken",
    "mode": "Who takes the orders and gives the ticks",
}


@cache
def words_of(struct: type) -> dict[str, str]:
    """The words of each field that has any, inherited ones included."""
    found: dict[str, str] = {}
    for one in reversed(struct.__mro__):
        if one.__module__ in sys.modules and one.__module__.startswith("daemon."):
            found |= _beside(one)
    return {name: found.get(name) or COMMON[name] for name in _names(struct) if name in found or name in COMMON}


def _names(struct: type) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(struct, "__struct_fields__", ())
    return names


def _beside(struct: type) -> dict[str, str]:
    """The texts that stand below the fields of a class, as in its source."""
    body = _classes(struct.__module__).get(struct.__name__, [])
    found = {}
    for field, after in itertools.pairwise(body):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = inspect.cleandoc(str(after.value.value))  # type: ignore[attr-defined]
    return found


@cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
