"""Turns a trade into its Indian charges: brokerage, STT, exchange, SEBI, stamp, IPFT and GST, each to the paisa.

The rates are dated data (`costs.yaml`, with their sources) of NSE, BSE, NSE's currencies (CDS) and MCX; an index is
charged as its future. An option that is exercised pays STT on what it is worth (until 2019-08 on all that it stood
for). An order is what is charged: each component is rounded once, on all that the order has traded, and a fill pays
what it adds to that.
Invariant: `total` is the exact sum of the components, and each component of an order's fills adds up to that of the
order done in one fill of the same turnover.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any, Final

import msgspec

from daemon.core.errors import UsageError
from daemon.core.events import Side
from daemon.market.calendar import ist_date, ist_ns
from daemon.market.contracts import CURRENCIES
from daemon.market.instruments import Instrument, Kind
from daemon.market.tables import shipped_table

PAISA: Final = Decimal("0.01")
ZERO: Final = Decimal(0)
_TABLE: Final = "costs.yaml"
_SEGMENT: Final = {Kind.EQUITY: "equity", Kind.INDEX: "futures", Kind.FUTURE: "futures", Kind.OPTION: "options"}
_EXERCISE: Final = "exercise"
_PERCENT: Final = Decimal(100)


class CostRangeError(UsageError):
    """A trade lies before the first date of the cost schedule."""


class Charges(msgspec.Struct, frozen=True):
    """Of one trade, rupees to the paisa."""

    brokerage: Decimal
    stt: Decimal
    exchange: Decimal
    sebi: Decimal
    stamp: Decimal
    ipft: Decimal
    gst: Decimal

    @property
    def total(self) -> Decimal:
        """The sum of all components, rupees."""
        return self.brokerage + self.stt + self.exchange + self.sebi + self.stamp + self.ipft + self.gst


class _Rates(msgspec.Struct, frozen=True):
    """Of one segment, side and stretch of time, as fractions of turnover (GST: of what it is levied on)."""

    brokerage: Decimal | None
    """None: the cap, whatever was traded."""
    brokerage_cap: Decimal
    stt: Decimal
    exchange: Decimal
    sebi: Decimal
    stamp: Decimal
    ipft: Decimal
    gst: Decimal


class CostSchedule:
    """The dated rates of all segments."""

    def __init__(self) -> None:
        self._starts, self._rates = _shipped()

    def charges(
        self, instrument: Instrument, side: Side, quantity: int, price: Decimal, ts: int, order_turnover: Decimal = ZERO
    ) -> Charges:
        """Charges that trading `quantity` units at `price` rupees at `ts` (UTC nanoseconds) adds to its order.

        `order_turnover` is what earlier fills of the same order traded, rupees: charges are capped and rounded by
        order, not by fill. Raises `CostRangeError` before the schedule's first date.
        """
        segment = _segment(instrument)
        if segment not in self._starts:
            raise CostRangeError(f"{instrument.symbol}: no charges of {segment} are known; see daemon/market/{_TABLE}")
        index = bisect_right(self._starts[segment], ts) - 1
        if index < 0:
            raise CostRangeError(
                f"{instrument.symbol}: a trade on {ist_date(ts)} lies before the cost schedule, which begins on "
                f"{ist_date(self._starts[segment][0])}; add earlier rates to daemon/market/{_TABLE}"
            )
        rates = self._rates[segment, side][index]
        after = _of_order(rates, order_turnover + price * quantity)
        if not order_turnover:
            return after
        before = _of_order(rates, order_turnover)
        return Charges(**{name: getattr(after, name) - getattr(before, name) for name in Charges.__struct_fields__})

    def exercise(self, option: Instrument, quantity: int, worth: Decimal, ts: int) -> Charges:
        """What the holder of so many units pays of which each is `worth` so many rupees at its expiry at `ts` (UTC ns).

        Raises `CostRangeError` before the first date of the rule.
        """
        rows = [row for row in shipped_table(_TABLE)[_EXERCISE]["stt"] if row["from"] <= ist_date(ts)]
        if not rows:
            raise CostRangeError(
                f"an exercise on {ist_date(ts)} lies before the cost schedule; add earlier rates to "
                f"daemon/market/{_TABLE}"
            )
        base = worth
        if rows[-1].get("of") == "settlement":
            base = (option.strike or ZERO) + (worth if option.right == "CE" else -worth)
        stt = _paisa(base * quantity * Decimal(rows[-1]["percent"]) / _PERCENT)
        return Charges(brokerage=ZERO, stt=stt, exchange=ZERO, sebi=ZERO, stamp=ZERO, ipft=ZERO, gst=ZERO)


def _segment(instrument: Instrument) -> str:
    """Whose rates count: NSE's kinds under their own names, others as `BSE options`."""
    kind = _SEGMENT[instrument.kind]
    market = "CDS" if instrument.underlying in CURRENCIES and instrument.exchange == "NSE" else instrument.exchange
    return kind if market in ("NSE", "") else f"{market} {kind}"  # "": of a journal, which tells the kind alone


def _segments(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every segment with all its charges: those that another exchange doesn't name are NSE's of that kind."""
    found = {kind: table[kind] for kind in dict.fromkeys(_SEGMENT.values())}
    for market in (key for key in table if key not in found and key != _EXERCISE):
        found |= {f"{market} {kind}": {**table[kind], **own} for kind, own in table[market].items()}
    return found


@cache
def _shipped() -> tuple[Mapping[str, list[int]], Mapping[tuple[str, Side], list[_Rates]]]:
    """The start of each period of a segment, UTC ns, and its rates by side; read once a process."""
    starts: dict[str, list[int]] = {}
    rates: dict[tuple[str, Side], list[_Rates]] = {}
    for segment, charges in _segments(shipped_table(_TABLE)).items():
        first = max(rows[0]["from"] for rows in charges.values())
        dates = sorted({first} | {row["from"] for rows in charges.values() for row in rows if row["from"] > first})
        starts[segment] = [ist_ns(day, "00:00") for day in dates]
        for side in Side:
            rates[segment, side] = [_rates(charges, side, day) for day in dates]
    return starts, rates


def _of_order(rates: _Rates, turnover: Decimal) -> Charges:
    """What an order is charged that has traded `turnover` rupees."""
    cap, share = rates.brokerage_cap, rates.brokerage
    brokerage = _paisa(cap if share is None else min(turnover * share, cap))
    exchange = _paisa(turnover * rates.exchange)
    sebi = _paisa(turnover * rates.sebi)
    return Charges(
        brokerage=brokerage,
        stt=_paisa(turnover * rates.stt),
        exchange=exchange,
        sebi=sebi,
        stamp=_paisa(turnover * rates.stamp),
        ipft=_paisa(turnover * rates.ipft),
        gst=_paisa((brokerage + exchange + sebi) * rates.gst),
    )


def _paisa(rupees: Decimal) -> Decimal:
    return rupees.quantize(PAISA, rounding=ROUND_HALF_UP)


def _rates(charges: dict[str, list[dict[str, Any]]], side: Side, day: dt.date) -> _Rates:
    """All rates of a segment that hold for `side` on `day`."""
    due = {charge: [row for row in rows if row["from"] <= day][-1] for charge, rows in charges.items()}

    def fraction(charge: str, *keys: str) -> Decimal:
        return sum((Decimal(due[charge].get(key, "0")) for key in keys), ZERO) / _PERCENT

    sides, brokerage = ("both", side.value.lower()), due["brokerage"]
    return _Rates(
        brokerage=None if "rupees" in brokerage else fraction("brokerage", "percent"),
        brokerage_cap=Decimal(brokerage["rupees"] if "rupees" in brokerage else brokerage["cap_rupees"]),
        stt=fraction("stt", *sides),
        exchange=fraction("exchange", *sides),
        sebi=fraction("sebi", *sides),
        stamp=fraction("stamp", *sides),
        ipft=fraction("ipft", *sides),
        gst=fraction("gst", "percent"),
    )
