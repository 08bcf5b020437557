/* Candles with what was decided and filled, reasoning below; and profit with its drawdown. */
"use strict";
const L = window.LightweightCharts;
const compact = new Intl.NumberFormat("en-IN", { notation: "compact", maximumFractionDigits: 1 });
const inPrices = { type: "custom", minMove: 0.0001, formatter: (v) => price(v) };
const inRupees = { type: "custom", minMove: 0.01, formatter: (v) => (v < 0 ? "−₹" : "₹") + compact.format(Math.abs(v)) };
const inPercent = { type: "custom", minMove: 0.01, formatter: (v) => fallen(v) };
const fallen = (v) => (v < -0.005 ? "−" : "") + Math.abs(v).toFixed(2) + " %";
const unmarked = { lastValueVisible: false, priceLineVisible: false };

function newChart(id) {
  return L.createChart(byId(id), {
    autoSize: true,
    layout: { attributionLogo: false, background: { color: "transparent" } },
    crosshair: { mode: 0 },
    rightPriceScale: { borderVisible: false, minimumWidth: 70 },
    timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false, rightOffset: 3, minBarSpacing: 0.5, shiftVisibleRangeOnNewBar: false },
    handleScroll: { vertTouchDrag: false, mouseWheel: false },
    handleScale: { mouseWheel: false },
    localization: { locale: "en-IN" },
  });
}

function theme() {
  const css = getComputedStyle(document.documentElement), of = (name) => css.getPropertyValue("--" + name).trim();
  const faint = (colour, share) => colour + Math.round(share * 255).toString(16).padStart(2, "0");
  return { up: of("up"), down: of("down"), soft: of("soft"), line: of("line"), blue: of("blue"), amber: of("amber"), sans: of("sans"), faint };
}

function dress(chart, colours) {
  chart.applyOptions({
    layout: { textColor: colours.soft, fontFamily: colours.sans, panes: { separatorColor: colours.line } },
    grid: { vertLines: { color: colours.faint(colours.line, 0.5) }, horzLines: { color: colours.line } },
  });
}

function titles(chart, names) {
  const marks = chart.panes().map((pane) => L.createTextWatermark(pane, { horzAlign: "left", vertAlign: "top", lines: [] }));
  return (colours) => marks.forEach((mark, n) => mark.applyOptions({ lines: [{ text: names[n], color: colours.soft, fontSize: 11, fontFamily: colours.sans }] }));
}

/* One symbol at one interval: bars from hrmd, the last one grown by ticks. */
function candleChart() {
  const chart = newChart("chart");
  const bars = chart.addSeries(L.CandlestickSeries, { borderVisible: false, priceLineVisible: true, lastValueVisible: true, priceFormat: inPrices }, 0);
  const volume = chart.addSeries(L.HistogramSeries, { ...unmarked, priceScaleId: "volume", priceFormat: { type: "volume" } }, 0);
  chart.priceScale("volume", 0).applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
  chart.priceScale("right", 0).applyOptions({ scaleMargins: { top: 0.08, bottom: 0.2 } });
  const depth = chart.addSeries(L.HistogramSeries, { ...unmarked, priceFormat: { type: "price", precision: 0, minMove: 1 },
    autoscaleInfoProvider: (own) => ({ priceRange: { minValue: 0, maxValue: Math.max(2, own()?.priceRange?.maxValue || 0) } }) }, 1);
  const complexity = chart.addSeries(L.AreaSeries, { ...unmarked, lineWidth: 1, autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }) }, 2);
  for (const pane of [1, 2]) chart.priceScale("right", pane).applyOptions({ scaleMargins: { top: 0.34, bottom: 0.04 } }); // room for its title
  chart.panes().forEach((pane, n) => pane.setStretchFactor([5, 1.3, 1.3][n]));
  const title = titles(chart, ["Price, ₹", "Reasoning depth, segments", "Market complexity, 0 to 1"]);
  const markers = L.createSeriesMarkers(bars, []);
  let length = 300, last = null, times = new Set();

  function dressed() {
    const colours = theme();
    dress(chart, colours);
    title(colours);
    bars.applyOptions({ upColor: colours.up, downColor: colours.down, wickUpColor: colours.up, wickDownColor: colours.down });
    depth.applyOptions({ color: colours.blue });
    complexity.applyOptions({ lineColor: colours.amber, topColor: colours.faint(colours.amber, 0.25), bottomColor: colours.faint(colours.amber, 0.05) });
    return colours;
  }

  function candle(row) {
    return { time: Math.floor(seconds(row.open_ts)) + IST_S, open: Number(row.open), high: Number(row.high), low: Number(row.low), close: Number(row.close) };
  }
  const block = (row, at, colours) => ({ time: at.time, value: row.volume || 0, color: colours.faint(at.close >= at.open ? colours.up : colours.down, 0.4) });

  function fill(rows, interval) {
    const colours = dressed(), found = new Map();
    length = lasting(interval);
    for (const row of [...rows].reverse()) found.set(candle(row).time, row);
    const drawn = [...found.values()].sort((a, b) => seconds(a.open_ts) - seconds(b.open_ts));
    const candles = drawn.map(candle);
    times = new Set(candles.map((one) => one.time));
    const range = chart.timeScale().getVisibleLogicalRange();
    bars.setData(candles);
    volume.setData(drawn.map((row, n) => block(row, candles[n], colours)));
    last = candles[candles.length - 1] || null;
    if (range) chart.timeScale().setVisibleLogicalRange(range);
    follow();
    byId("chart").dataset.bars = candles.length;
  }

  /* Whoever looks at the newest bar goes on seeing it; whoever looks back is left alone. */
  function follow() {
    const scale = chart.timeScale(), range = scale.getVisibleLogicalRange(), ahead = range ? times.size + 2 - range.to : 0;
    if (ahead > 0 && ahead < 4) scale.setVisibleLogicalRange({ from: range.from + ahead, to: range.to + ahead });
  }

  /* Only forward in time: what is older than the newest bar comes with the next filling. */
  function bar(row) {
    const one = candle(row);
    if (last && one.time < last.time) return;
    last = one;
    times.add(one.time);
    bars.update(one);
    follow();
    volume.update(block(row, one, theme()));
  }

  function tick(price, ts) {
    const time = beginning(seconds(ts), length, last?.time);
    if (last && time < last.time) return;
    last = last && last.time === time
      ? { ...last, high: Math.max(last.high, price), low: Math.min(last.low, price), close: price }
      : { time, open: price, high: price, low: price, close: price };
    times.add(time);
    bars.update(last);
    follow();
  }

  /* A decision belongs to the bar that had closed when it was made. */
  function decided(decisions, orders) {
    const colours = theme(), wanted = [], thought = new Map();
    for (const one of [...decisions].reverse()) {
      const time = beginning(seconds(one.ts), length, last?.time) - (one.interval && lasting(one.interval) === length ? length : 0);
      if (!times.has(time)) continue;
      thought.set(time, one);
      if (one.action !== "HOLD" && byId("with-decisions").checked) wanted.push({ time, position: "aboveBar", shape: "circle", color: colours.blue, size: 0.7 });
    }
    for (const one of orders) {
      const time = beginning(seconds(one.ts), length, last?.time), buys = one.side === "BUY";
      if (!one.filled || !times.has(time) || !byId("with-fills").checked) continue;
      wanted.push({ time, price: Number(one.average_price), position: buys ? "atPriceBottom" : "atPriceTop", shape: buys ? "arrowUp" : "arrowDown", color: buys ? colours.up : colours.down });
    }
    markers.setMarkers(wanted.sort((a, b) => a.time - b.time));
    const points = [...thought.entries()].sort((a, b) => a[0] - b[0]);
    depth.setData(points.map(([time, one]) => ({ time, value: one.segments })));
    complexity.setData(points.map(([time, one]) => ({ time, value: one.complexity })));
  }

  dressed();
  return { fill, bar, tick, decided, dressed, newest: () => chart.timeScale().setVisibleLogicalRange({ from: Math.max(-1, times.size - (innerWidth < 620 ? 45 : 110)), to: Math.max(innerWidth < 620 ? 20 : 45, times.size + 3) }) };
}

function equityChart() {
  const chart = newChart("curve");
  const profit = chart.addSeries(L.BaselineSeries, { ...unmarked, lineWidth: 2, priceFormat: inRupees, baseValue: { type: "price", price: 0 } }, 0);
  const fall = chart.addSeries(L.AreaSeries, { ...unmarked, lineWidth: 1, invertFilledArea: true, priceFormat: inPercent }, 1);
  chart.priceScale("right", 1).applyOptions({ scaleMargins: { top: 0.3, bottom: 0.06 } });
  chart.panes().forEach((pane, n) => pane.setStretchFactor([2, 1][n]));
  const title = titles(chart, ["Net P&L", "Drawdown"]);

  function dressed() {
    const colours = theme(), { up, down, faint } = colours;
    dress(chart, colours);
    title(colours);
    profit.applyOptions({ topLineColor: up, bottomLineColor: down, topFillColor1: faint(up, 0.2), topFillColor2: faint(up, 0.03), bottomFillColor1: faint(down, 0.03), bottomFillColor2: faint(down, 0.2) });
    fall.applyOptions({ lineColor: down, topColor: faint(down, 0.05), bottomColor: faint(down, 0.25) });
  }

  function fill(rows) {
    const points = new Map();
    let peak = 0, deepest = 0, now = 0;
    for (const row of [...rows].reverse()) {
      const worth = Number(row.equity);
      peak = Math.max(peak, worth);
      now = peak ? 100 * (worth / peak - 1) : 0;
      deepest = Math.min(deepest, now);
      points.set(Math.floor(seconds(row.ts)) + IST_S, [Number(row.net_pnl), now]);
    }
    const sorted = [...points.entries()].sort((a, b) => a[0] - b[0]);
    profit.setData(sorted.map(([time, [value]]) => ({ time, value })));
    fall.setData(sorted.map(([time, [, value]]) => ({ time, value })));
    chart.timeScale().fitContent();
    say("equity-read", rows.length ? `${signed(rows[0].net_pnl)} at ${moment(rows[0].time)}, ${fallen(now)} from the peak, at worst ${fallen(deepest)}` : "No bar has closed yet.");
  }

  dressed();
  return { fill, dressed };
}
