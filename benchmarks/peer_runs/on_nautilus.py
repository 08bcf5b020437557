"""The cross in nautilus_trader: its own example strategy on minute bars that its engine makes of trade ticks."""

from decimal import Decimal

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.examples.strategies.ema_cross import EMACross, EMACrossConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.wranglers import TradeTickDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from timed import FAST, QUANTITY, SLOW, Stopwatch, columns, say

watch = Stopwatch()
ts, price = columns("ts_event", "ltp")
instrument = TestInstrumentProvider.equity()
frame = pd.DataFrame(
    {"price": price, "quantity": 1.0, "trade_id": [str(n) for n in range(len(ts))]},
    index=pd.to_datetime(ts, unit="ns", utc=True),
)
ticks = TradeTickDataWrangler(instrument).process(frame)
engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
engine.add_venue(
    venue=Venue("XNAS"), oms_type=OmsType.NETTING, account_type=AccountType.MARGIN, base_currency=USD,
    starting_balances=[Money(1_000_000, USD)],
)  # fmt: skip
engine.add_instrument(instrument)
engine.add_data(ticks)
engine.add_strategy(
    EMACross(
        EMACrossConfig(
            instrument_id=instrument.id, bar_type=BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-INTERNAL"),
            trade_size=Decimal(100 * QUANTITY), fast_ema_period=FAST, slow_ema_period=SLOW, request_bars=False,
            subscribe_trade_ticks=False, subscribe_quote_ticks=False,
        )
    )
)  # fmt: skip
loaded = watch.read()
engine.run()
say(len(ts), engine.cache.orders_total_count(), watch, run=loaded)
