"""An OpenAlgo account before the market opens → one finding a subject, each with what to do about it.

The server is only read: its mode and the account's money. Invariant: no call here can change an order, and no finding
holds the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.brokers.calls import rate_budget
from daemon.calls.http import CallTimes
from daemon.calls.outcome import Done, Outcome, Rejected
from daemon.core.clock import Clock
from daemon.core.errors import HrmdError
from daemon.openalgo.access import MAKES, RENEW, access, check_addresses
from daemon.openalgo.rest import OpenAlgoRest
from daemon.preflight import Finding, bad, doubtful, good
from daemon.report.text import rupees
from daemon.settings.tree import Settings


async def openalgo_findings(settings: Settings, environment: Mapping[str, str], clock: Clock) -> list[Finding]:
    """Everything about the account; the server is asked only with a key that may hold."""
    server, answer_s = settings.broker.openalgo, settings.broker.live.answer_s
    entry = access(server, environment)
    try:
        check_addresses(server)
        key = entry.read()
    except HrmdError as error:
        return [bad("key", str(error), MAKES)]
    times = CallTimes(read_s=answer_s, total_s=answer_s + 3.0)
    async with OpenAlgoRest(server.url, key, rate_budget(server), clock, times) as rest:
        mode = await rest.analyzing()
        refused = _refused("key" if isinstance(mode, Rejected) else "server", mode)
        if refused is not None:
            return [refused]
        funds = await rest.funds()
    found = [good("key", f"{entry.path}: the server takes it")]
    if isinstance(mode, Done):
        found.append(mode_finding(analyzing=mode.value, real_money=settings.broker.live.real_money))
    if isinstance(funds, Done):
        free = funds.value.available
        text = f"{rupees(free)} available of {rupees(funds.value.total)}"
        found.append(good("funds", text) if free > 0 else doubtful("funds", text, "nothing can be opened"))
    else:
        found.append(_refused("funds", funds) or bad("funds", "no answer"))
    return found


def mode_finding(*, analyzing: bool, real_money: bool) -> Finding:
    """Whether the server's mode and ours are about the same money."""
    if analyzing:
        text = "the server only pretends to trade (analyze mode)"
        return doubtful("mode", text, "switch it to live in OpenAlgo") if real_money else good("mode", text)
    if real_money:
        return good("mode", "orders cost money")
    return bad("mode", "the server trades with money, and broker.live.real_money is not set: no order would leave",
               "switch OpenAlgo to analyze mode, or set it")  # fmt: skip


def _refused(name: str, outcome: Outcome[Any]) -> Finding | None:
    """The finding of a call that brought no answer."""
    if isinstance(outcome, Done):
        return None
    if isinstance(outcome, Rejected):
        return bad(name, f"the server said no ({outcome.code}: {outcome.message})", RENEW)
    return bad(name, f"no answer ({outcome.reason})", "look at broker.openalgo.url, and whether OpenAlgo runs")
