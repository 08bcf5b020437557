-- Views on a journal: sqlite3 -readonly -init docs/journal.sql var/journal.sqlite
-- Made by python -m daemon.journal.views; docs/notebooks.md explains them.
CREATE TEMP VIEW bars AS SELECT run, seq,
  json_extract(body, '$.symbol') AS "symbol",
  json_extract(body, '$.interval') AS "interval",
  json_extract(body, '$.ts_open') AS "ts_open",
  json_extract(body, '$.ts_close') AS "ts_close",
  json_extract(body, '$.open') AS "open",
  json_extract(body, '$.high') AS "high",
  json_extract(body, '$.low') AS "low",
  json_extract(body, '$.close') AS "close",
  json_extract(body, '$.volume') AS "volume",
  json_extract(body, '$.ticks') AS "ticks",
  json_extract(body, '$.gap') AS "gap"
FROM events WHERE type = 'Bar';
CREATE TEMP VIEW complexities AS SELECT run, seq,
  json_extract(body, '$.symbol') AS "symbol",
  json_extract(body, '$.interval') AS "interval",
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.volatility') AS "volatility",
  json_extract(body, '$.trend_strength') AS "trend_strength",
  json_extract(body, '$.momentum') AS "momentum",
  json_extract(body, '$.regime_change') AS "regime_change",
  json_extract(body, '$.correlation_breakdown') AS "correlation_breakdown",
  json_extract(body, '$.event_impact') AS "event_impact",
  json_extract(body, '$.score') AS "score",
  json_extract(body, '$.regime') AS "regime"
FROM events WHERE type = 'Complexity';
CREATE TEMP VIEW decisions AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.ts_bar') AS "ts_bar",
  json_extract(body, '$.symbol') AS "symbol",
  json_extract(body, '$.interval') AS "interval",
  json_extract(body, '$.strategy') AS "strategy",
  json_extract(body, '$.action') AS "action",
  json_extract(body, '$.quantity') AS "quantity",
  json_extract(body, '$.confidence') AS "confidence",
  json_extract(body, '$.reason') AS "reason",
  json_extract(body, '$.price') AS "price",
  json_extract(body, '$.value') AS "value",
  json_extract(body, '$.segments') AS "segments",
  json_extract(body, '$.min_segments') AS "min_segments",
  json_extract(body, '$.halt_reason') AS "halt_reason",
  json_extract(body, '$.h_confidence') AS "h_confidence",
  json_extract(body, '$.l_confidence') AS "l_confidence",
  json_extract(body, '$.convergence') AS "convergence",
  json_extract(body, '$.q_halt') AS "q_halt",
  json_extract(body, '$.q_continue') AS "q_continue",
  json_extract(body, '$.complexity') AS "complexity",
  json_extract(body, '$.regime') AS "regime",
  json_extract(body, '$.model_hash') AS "model_hash",
  json_extract(body, '$.latency_ns') AS "latency_ns",
  json_extract(body, '$.failed') AS "failed",
  json_extract(body, '$.novelty') AS "novelty",
  json_extract(body, '$.cost_bp') AS "cost_bp",
  json_extract(body, '$.limit_price') AS "limit_price",
  json_extract(body, '$.why') AS "why",
  json_extract(body, '$.share') AS "share",
  json_extract(body, '$.stop_price') AS "stop_price",
  json_extract(body, '$.target_price') AS "target_price",
  json_extract(body, '$.wanted') AS "wanted"
FROM events WHERE type = 'Decision';
CREATE TEMP VIEW intents AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.order_id') AS "order_id",
  json_extract(body, '$.symbol') AS "symbol",
  json_extract(body, '$.side') AS "side",
  json_extract(body, '$.quantity') AS "quantity",
  json_extract(body, '$.type') AS "type",
  json_extract(body, '$.limit_price') AS "limit_price",
  CAST(ROUND(json_extract(body, '$.limit_price') * 10000) AS INTEGER) AS "limit_price_e4",
  json_extract(body, '$.stop_price') AS "stop_price",
  CAST(ROUND(json_extract(body, '$.stop_price') * 10000) AS INTEGER) AS "stop_price_e4",
  json_extract(body, '$.reduces') AS "reduces",
  json_extract(body, '$.strategy') AS "strategy",
  json_extract(body, '$.reason') AS "reason",
  json_extract(body, '$.reference_price') AS "reference_price",
  CAST(ROUND(json_extract(body, '$.reference_price') * 10000) AS INTEGER) AS "reference_price_e4",
  json_extract(body, '$.decision') AS "decision",
  json_extract(body, '$.stop_loss') AS "stop_loss",
  CAST(ROUND(json_extract(body, '$.stop_loss') * 10000) AS INTEGER) AS "stop_loss_e4",
  json_extract(body, '$.take_profit') AS "take_profit",
  CAST(ROUND(json_extract(body, '$.take_profit') * 10000) AS INTEGER) AS "take_profit_e4"
FROM events WHERE type = 'OrderIntent';
CREATE TEMP VIEW approvals AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.order_id') AS "order_id"
FROM events WHERE type = 'OrderApproved';
CREATE TEMP VIEW denials AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.order_id') AS "order_id",
  json_extract(body, '$.symbol') AS "symbol",
  json_extract(body, '$.check') AS "check",
  json_extract(body, '$.limit') AS "limit",
  json_extract(body, '$.value') AS "value"
FROM events WHERE type = 'OrderDenied';
CREATE TEMP VIEW acceptances AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.order_id') AS "order_id",
  json_extract(body, '$.venue_id') AS "venue_id"
FROM events WHERE type = 'OrderAccepted';
CREATE TEMP VIEW rejections AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.order_id') AS "order_id",
  json_extract(body, '$.code') AS "code",
  json_extract(body, '$.reason') AS "reason"
FROM events WHERE type = 'OrderRejected';
CREATE TEMP VIEW cancellations AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.order_id') AS "order_id",
  json_extract(body, '$.filled') AS "filled",
  json_extract(body, '$.reason') AS "reason"
FROM events WHERE type = 'OrderCancelled';
CREATE TEMP VIEW expiries AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.order_id') AS "order_id",
  json_extract(body, '$.filled') AS "filled",
  json_extract(body, '$.reason') AS "reason"
FROM events WHERE type = 'OrderExpired';
CREATE TEMP VIEW fills AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.fill_id') AS "fill_id",
  json_extract(body, '$.order_id') AS "order_id",
  json_extract(body, '$.symbol') AS "symbol",
  json_extract(body, '$.side') AS "side",
  json_extract(body, '$.quantity') AS "quantity",
  json_extract(body, '$.price') AS "price",
  CAST(ROUND(json_extract(body, '$.price') * 10000) AS INTEGER) AS "price_e4",
  json_extract(body, '$.costs') AS "costs",
  CAST(ROUND(json_extract(body, '$.costs') * 10000) AS INTEGER) AS "costs_e4",
  json_extract(body, '$.traded_ts') AS "traded_ts"
FROM events WHERE type = 'Fill';
CREATE TEMP VIEW positions AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.symbol') AS "symbol",
  json_extract(body, '$.quantity') AS "quantity",
  json_extract(body, '$.average_price') AS "average_price",
  CAST(ROUND(json_extract(body, '$.average_price') * 10000) AS INTEGER) AS "average_price_e4",
  json_extract(body, '$.realised_pnl') AS "realised_pnl",
  CAST(ROUND(json_extract(body, '$.realised_pnl') * 10000) AS INTEGER) AS "realised_pnl_e4",
  json_extract(body, '$.costs') AS "costs",
  CAST(ROUND(json_extract(body, '$.costs') * 10000) AS INTEGER) AS "costs_e4",
  json_extract(body, '$.cash') AS "cash",
  CAST(ROUND(json_extract(body, '$.cash') * 10000) AS INTEGER) AS "cash_e4",
  json_extract(body, '$.opened_ts') AS "opened_ts"
FROM events WHERE type = 'PositionChanged';
CREATE TEMP VIEW states AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.state') AS "state",
  json_extract(body, '$.reason') AS "reason",
  json_extract(body, '$.who') AS "who"
FROM events WHERE type = 'TradingStateChanged';
CREATE TEMP VIEW swaps AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.old') AS "old",
  json_extract(body, '$.new') AS "new",
  json_extract(body, '$.reason') AS "reason",
  json_extract(body, '$.who') AS "who"
FROM events WHERE type = 'StrategySwapped';
CREATE TEMP VIEW health AS SELECT run, seq,
  json_extract(body, '$.ts') AS "ts",
  json_extract(body, '$.healthy') AS "healthy",
  json_extract(body, '$.reasons') AS "reasons",
  json_extract(body, '$.state') AS "state",
  json_extract(body, '$.changes') AS "changes"
FROM events WHERE type = 'HealthReport';
CREATE TEMP VIEW orders AS
SELECT i.run, i.seq, i.ts, i.order_id, i.symbol, i.side, i.quantity, i.type, i.limit_price, i.stop_price, i.strategy,
  i.decision, i.reason,
  COALESCE((SELECT SUM(quantity) FROM fills f WHERE f.run = i.run AND f.order_id = i.order_id), 0) AS filled,
  (SELECT SUM(quantity * price_e4) FROM fills f WHERE f.run = i.run AND f.order_id = i.order_id) AS turnover_e4,
  (SELECT SUM(costs_e4) FROM fills f WHERE f.run = i.run AND f.order_id = i.order_id) AS costs_e4,
  (SELECT d."check" FROM denials d WHERE d.run = i.run AND d.order_id = i.order_id) AS denied_by,
  (SELECT r.reason FROM rejections r WHERE r.run = i.run AND r.order_id = i.order_id) AS rejected_for,
  (SELECT c.reason FROM cancellations c WHERE c.run = i.run AND c.order_id = i.order_id) AS cancelled_for
FROM intents i;
