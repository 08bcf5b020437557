"""The sandbox's book → messages in Fyers' words, and order requests in Fyers' words → what is wanted.

Written from the documentation, apart from the client's own tables (`daemon.fyers.wire`), so that a wrong name in one of
them shows. Invariant: amounts go out as JSON numbers with all their digits.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import msgspec

from daemon.core.clock import IST
from daemon.core.events import Side
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.ledger import ZERO, Position, Trade
from daemon.sandbox.orders import BAD_PARAMETERS, CODE_OF_TYPE, TYPE_OF_CODE, Order, Quote, Refusal, Wanted

CLIENT_ID: Final = "SANDBOX"
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TAG: Final = re.compile(r"[A-Za-z0-9]{1,30}")
_PRODUCTS: Final = ("CNC", "INTRADAY", "MARGIN", "CO", "BO", "MTF")
_PRICE_DIGITS: Final = Decimal("0.000001")

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """JSON with decimals as numbers."""
    return msgspec.json.Encoder(decimal_format="number").encode(message)


def order_row(order: Order) -> Message:
    """One row of `orderBook`."""
    wanted = order.wanted
    return {
        "clientId": CLIENT_ID, "id": order.order_id, "exchOrdId": f"1{order.order_id}", "qty": wanted.quantity,
        "remainingQuantity": order.remaining, "filledQty": order.filled, "disclosedQty": 0,
        "limitPrice": wanted.limit_price, "stopPrice": wanted.stop_price, "tradedPrice": _price(order.average_price),
        "type": CODE_OF_TYPE[wanted.type], "fyToken": "", "exchange": 10, "segment": 10, "symbol": wanted.symbol,
        "instrument": 0, "message": order.message, "offlineOrder": False, "orderDateTime": ist(order.placed_ts),
        "orderValidity": wanted.validity, "pan": "", "productType": wanted.product, "side": wanted.side.sign,
        "status": int(order.status), "source": "API", "orderNumStatus": f"{order.order_id}:{int(order.status)}",
        "orderTag": _tag(wanted.tag),
    }  # fmt: skip


def trade_row(trade: Trade) -> Message:
    """One row of `tradeBook`."""
    return {
        "clientId": CLIENT_ID, "exchange": 10, "segment": 10, "fyToken": "", "symbol": trade.symbol, "row": 1,
        "orderNumber": trade.order_id, "exchangeOrderNo": f"1{trade.order_id}", "tradeNumber": trade.trade_id,
        "tradedQty": trade.quantity, "tradePrice": trade.price, "tradeValue": trade.quantity * trade.price,
        "productType": trade.product, "orderType": trade.type_code, "side": trade.side.sign,
        "orderDateTime": ist(trade.ts), "orderTag": _tag(trade.tag),
    }  # fmt: skip


def position_row(position: Position, last: Decimal) -> Message:
    """One row of `netPositions`."""
    unrealised = position.unrealised(last)
    return {
        "id": f"{position.symbol}-{position.product}", "symbol": position.symbol, "productType": position.product,
        "netQty": position.net, "qty": abs(position.net), "side": _sign(position.net),
        "netAvg": _price(position.net_average), "avgPrice": _price(position.net_average),
        "buyQty": position.bought, "buyAvg": _price(position.buy_average), "buyVal": position.bought_value,
        "sellQty": position.sold, "sellAvg": _price(position.sell_average), "sellVal": position.sold_value,
        "realized_profit": _price(position.realised), "unrealized_profit": _price(unrealised),
        "pl": _price(position.realised + unrealised), "ltp": last, "crossCurrency": "N", "rbiRefRate": 1,
        "qtyMulti_com": 1, "segment": 10, "exchange": 10, "fyToken": "",
    }  # fmt: skip


def fund_rows(exchange: Exchange) -> list[Message]:
    """The lines of `fund_limit`."""
    balance, utilised = exchange.balance, exchange.utilised
    amounts = (
        ("Total Balance", balance), ("Utilized Amount", utilised), ("Clear Balance", balance),
        ("Realized Profit and Loss", exchange.ledger.realised), ("Collaterals", ZERO), ("Fund Transfer", ZERO),
        ("Receivables", ZERO), ("Adhoc Limit", ZERO), ("Limit at start of the day", exchange.ledger.starting_cash),
        ("Available Balance", balance - utilised),
    )  # fmt: skip
    return [
        {"id": number, "title": title, "equityAmount": _price(amount), "commodityAmount": 0}
        for number, (title, amount) in enumerate(amounts, 1)
    ]


def quote_row(symbol: str, quote: Quote | None, ts: int) -> Message:
    """One line of `/data/quotes`."""
    if quote is None:
        return {"n": symbol, "s": "error", "v": {"code": -300, "errmsg": "Invalid symbol provided"}}
    bid = quote.last if quote.bid is None else quote.bid
    ask = quote.last if quote.ask is None else quote.ask
    values = {"lp": quote.last, "bid": bid, "ask": ask, "spread": ask - bid, "volume": 0, "symbol": symbol, "ch": 0}
    return {"n": symbol, "s": "ok", "v": {**values, "tt": str(ts // 1_000_000_000)}}


def order_push(order: Order) -> Message:
    """An order on the order socket, under its raw names."""
    wanted = order.wanted
    return {"s": "ok", "orders": {
        "client_id": CLIENT_ID, "id": order.order_id, "id_exchange": f"1{order.order_id}", "symbol": wanted.symbol,
        "exchange": 10, "segment": 10, "instrument": 0, "fy_token": "", "tran_side": wanted.side.sign,
        "ord_type": CODE_OF_TYPE[wanted.type], "product_type": wanted.product, "validity": wanted.validity,
        "qty": wanted.quantity, "qty_filled": order.filled, "qty_remaining": order.remaining,
        "price_limit": wanted.limit_price, "price_stop": wanted.stop_price, "price_traded": _price(order.average_price),
        "ord_status": 20, "org_ord_status": int(order.status), "oms_msg": order.message, "status_msg": "",
        "offline_flag": False, "ord_source": "API", "time_oms": ist(order.placed_ts), "ordertag": _tag(wanted.tag),
    }}  # fmt: skip


def trade_push(trade: Trade) -> Message:
    """A trade on the order socket, under its raw names."""
    return {"s": "ok", "trades": {
        "client_id": CLIENT_ID, "id_fill": trade.trade_id, "id": trade.order_id, "id_exchange": f"1{trade.order_id}",
        "symbol": trade.symbol, "exchange": 10, "segment": 10, "fy_token": "", "tran_side": trade.side.sign,
        "ord_type": trade.type_code, "product_type": trade.product, "qty_traded": trade.quantity,
        "price_traded": trade.price, "traded_val": trade.quantity * trade.price, "fill_time": ist(trade.ts),
        "ordertag": _tag(trade.tag),
    }}  # fmt: skip


def position_push(position: Position, last: Decimal) -> Message:
    """A position on the order socket, under its raw names."""
    return {"s": "ok", "positions": {
        "id": f"{position.symbol}-{position.product}", "symbol": position.symbol, "product_type": position.product,
        "net_qty": position.net, "qty": abs(position.net), "tran_side": _sign(position.net),
        "net_avg": _price(position.net_average), "buy_qty": position.bought, "buy_avg": _price(position.buy_average),
        "buy_val": position.bought_value, "sell_qty": position.sold, "sell_avg": _price(position.sell_average),
        "sell_val": position.sold_value, "pl_realized": _price(position.realised),
        "pl_unrealized": _price(position.unrealised(last)), "exchange": 10, "segment": 10, "fy_token": "",
    }}  # fmt: skip


def parse_order(body: Mapping[str, Any]) -> Wanted | Refusal:
    """The body of `POST /orders/sync`; refused with −50 where a parameter is missing or impossible."""
    side, order_type, tag = body.get("side"), body.get("type"), body.get("orderTag", "")
    problems = {
        "symbol": not isinstance(body.get("symbol"), str),
        "qty": type(body.get("qty")) is not int,
        "side": side not in (1, -1),
        "type": not (isinstance(order_type, int) and order_type in TYPE_OF_CODE),
        "productType": body.get("productType") not in _PRODUCTS,
        "validity": body.get("validity") not in ("DAY", "IOC"),
        "limitPrice": not _is_amount(body.get("limitPrice", 0)),
        "stopPrice": not _is_amount(body.get("stopPrice", 0)),
        "orderTag": not (isinstance(tag, str) and (tag == "" or _TAG.fullmatch(tag))),
    }
    wrong = [name for name, problem in problems.items() if problem]
    if wrong:
        return Refusal(BAD_PARAMETERS, f"Invalid input: {', '.join(wrong)}")
    return Wanted(
        tag=tag, symbol=body["symbol"], side=Side.BUY if side == 1 else Side.SELL, type=TYPE_OF_CODE[body["type"]],
        quantity=body["qty"], limit_price=Decimal(body.get("limitPrice", 0)),
        stop_price=Decimal(body.get("stopPrice", 0)), product=body["productType"], validity=body["validity"],
    )  # fmt: skip


def ist(ts: int) -> str:
    """Fyers' way to write a time: `18-Dec-2023 13:51:30`, in India."""
    moment = dt.datetime.fromtimestamp(ts // 1_000_000_000, IST)
    return f"{moment.day:02d}-{_MONTHS[moment.month - 1]}-{moment:%Y %H:%M:%S}"


def doubled_tags(orders: Iterable[Order]) -> list[str]:
    """Tags that more than one order carries: what must never happen."""
    seen: dict[str, int] = {}
    for order in orders:
        if order.wanted.tag:
            seen[order.wanted.tag] = seen.get(order.wanted.tag, 0) + 1
    return [tag for tag, count in seen.items() if count > 1]


def _tag(tag: str) -> str:
    return f"1:{tag}" if tag else "2:Untagged"


def _price(amount: Decimal) -> Decimal:
    """At most six digits after the point: averages need not end."""
    return amount.quantize(_PRICE_DIGITS, rounding=ROUND_HALF_EVEN).normalize() + ZERO if amount else ZERO


def _is_amount(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and value >= 0


def _sign(quantity: int) -> int:
    return (quantity > 0) - (quantity < 0)
