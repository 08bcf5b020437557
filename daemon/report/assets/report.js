/* What a report does in the browser: one chart whose panes share a time axis, and the list of trades that leads into it.
   Everything drawn is in the JSON block #run (daemon/report/page.py); texts go in as text, never as HTML. */
"use strict";
(() => {
  const run = JSON.parse(document.getElementById("run").textContent);
  const byId = (id) => document.getElementById(id);
  const IST_S = 19800; // the chart counts days in UTC: shown times are moved to India's
  const ACTIONS = ["buy long", "sell short", "close long", "close short", "hold"];
  const money = new Intl.NumberFormat("en-IN", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const whole = new Intl.NumberFormat("en-IN");
  const rupees = (value) => (value < 0 ? "−₹" : "₹") + money.format(Math.abs(value));
  const signed = (value) => (value > 0 ? "+" : "") + rupees(value);
  const fallen = (v) => (v < -0.005 ? "−" : "") + Math.abs(v).toFixed(2) + " %";
  const price = (value) => money.format(value);
  const tone = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");
  const day = new Intl.DateTimeFormat("en-IN", { timeZone: "Asia/Kolkata", day: "2-digit", month: "short", year: "numeric",
    hour: "2-digit", minute: "2-digit", hour12: false });
  const when = (s) => day.format(new Date(s * 1000)).replace(",", "");
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const chart = byId("chart") && run.symbols.length ? drawn() : null;
  if (byId("trades")) listed();

  /* -- the chart ------------------------------------------------------------------------------------------------- */

  function drawn() {
    const L = window.LightweightCharts, box = byId("chart"), reasoned = run.maxSegments > 0;
    const made = L.createChart(box, {
      autoSize: true,
      layout: { attributionLogo: false, background: { color: "transparent" }, panes: { enableResize: true } },
      crosshair: { mode: 0 },
      rightPriceScale: { borderVisible: false, minimumWidth: 74 },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false, minBarSpacing: 0.01, rightOffset: 1,
        fixLeftEdge: true, fixRightEdge: true },
      handleScroll: { vertTouchDrag: false },
      localization: { locale: "en-IN" },
    });
    const compact = new Intl.NumberFormat("en-IN", { notation: "compact", maximumFractionDigits: 1 });
    const places = new Intl.NumberFormat("en-IN", { minimumFractionDigits: 2, maximumFractionDigits: 4 });
    const inPrices = { type: "custom", minMove: 0.0001, formatter: (v) => places.format(v) };
    const inRupees = { type: "custom", minMove: 0.01, formatter: (v) => (v < 0 ? "−₹" : "₹") + compact.format(Math.abs(v)) };
    const inPercent = { type: "custom", minMove: 0.01, formatter: fallen };
    const plain = { lastValueVisible: false, priceLineVisible: false };
    const bars = made.addSeries(L.CandlestickSeries, { ...plain, borderVisible: false, priceFormat: inPrices }, 0);
    const volume = made.addSeries(L.HistogramSeries, { ...plain, priceScaleId: "volume", priceFormat: { type: "volume" } }, 0);
    made.priceScale("volume", 0).applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    made.priceScale("right", 0).applyOptions({ scaleMargins: { top: 0.08, bottom: 0.2 } });
    const hold = made.addSeries(L.LineSeries, { ...plain, lineWidth: 1, lineStyle: 2, priceFormat: inRupees }, 1);
    const profit = made.addSeries(L.BaselineSeries, { ...plain, lineWidth: 2, priceFormat: inRupees,
      baseValue: { type: "price", price: 0 } }, 1);
    const fall = made.addSeries(L.AreaSeries, { ...plain, lineWidth: 1, invertFilledArea: true, priceFormat: inPercent }, 2);
    const depth = reasoned ? made.addSeries(L.HistogramSeries, { ...plain, priceFormat: { type: "price", precision: 0, minMove: 1 } }, 3) : null;
    const complex = reasoned ? made.addSeries(L.AreaSeries, { ...plain, lineWidth: 1,
      autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }) }, 4) : null;
    const names = ["Price, ₹", "Net P&L (dashed: buy and hold)", "Drawdown", "Reasoning depth, segments", "Market complexity, 0 to 1"];
    for (const pane of [1, 2, 3, 4]) made.priceScale("right", pane).applyOptions({ scaleMargins: { top: pane === 1 ? 0.2 : 0.34, bottom: 0.06 } }); // room for its title
    made.panes().forEach((pane, n) => pane.setStretchFactor([5, 2, 1.3, 1.3, 1.3][n]));
    const marks = made.panes().map((pane) => L.createTextWatermark(pane, { horzAlign: "left", vertAlign: "top", lines: [] }));
    const markers = L.createSeriesMarkers(bars, []);
    let own = null, at = -1, lines = [];

    const peaks = []; // the fall from the peak so far, beside each point of the equity
    run.equity.v.reduce((peak, value, n) => { peak = Math.max(peak, value); peaks[n] = 100 * (value / peak - 1); return peak; },
      run.starting);

    function colours() {
      const css = getComputedStyle(document.documentElement), of = (name) => css.getPropertyValue("--" + name).trim();
      const [up, down, soft, line, blue, amber] = ["up", "down", "soft", "line", "blue", "amber"].map(of);
      const faint = (colour, share) => colour + Math.round(share * 255).toString(16).padStart(2, "0");
      made.applyOptions({ layout: { textColor: soft, fontFamily: of("sans"), panes: { separatorColor: line } },
        grid: { vertLines: { color: faint(line, 0.5) }, horzLines: { color: line } } });
      bars.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
      hold.applyOptions({ color: soft });
      profit.applyOptions({ topLineColor: up, bottomLineColor: down, topFillColor1: faint(up, 0.2), topFillColor2: faint(up, 0.03),
        bottomFillColor1: faint(down, 0.03), bottomFillColor2: faint(down, 0.2) });
      fall.applyOptions({ lineColor: down, topColor: faint(down, 0.05), bottomColor: faint(down, 0.25) });
      if (reasoned) {
        depth.applyOptions({ color: blue });
        complex.applyOptions({ lineColor: amber, topColor: faint(amber, 0.25), bottomColor: faint(amber, 0.05) });
      }
      marks.forEach((mark, n) => mark.applyOptions({ lines: [{ text: names[n], color: soft, fontSize: 11, fontFamily: of("sans") }] }));
      return { up, down, soft, blue, faint };
    }

    function show(number) {
      const of = run.symbols[number], theme = colours();
      own = { ...of, number, time: of.t.map((t) => t + IST_S), equityAt: [], decisionAt: new Map(), fillsAt: new Map() };
      let e = -1;
      own.e.forEach((end, i) => {
        while (e + 1 < run.equity.t.length && run.equity.t[e + 1] <= end) e += 1;
        own.equityAt[i] = e;
      });
      of.decisions.i.forEach((i, n) => own.decisionAt.set(i, n));
      of.fills.forEach((fill) => own.fillsAt.set(fill[0], [...(own.fillsAt.get(fill[0]) || []), fill]));
      bars.setData(own.time.map((time, i) => ({ time, open: of.o[i], high: of.h[i], low: of.l[i], close: of.c[i] })));
      volume.setData(of.v.map((value, i) => ({ time: own.time[i], value,
        color: theme.faint(of.c[i] >= of.o[i] ? theme.up : theme.down, 0.45) })));
      const points = (series, value) => series.setData(own.time.map((time, i) =>
        own.equityAt[i] < 0 ? { time } : { time, value: value(own.equityAt[i]) }));
      points(profit, (n) => run.equity.v[n] - run.starting);
      points(hold, (n) => run.hold[n] - run.starting);
      points(fall, (n) => peaks[n]);
      if (reasoned) {
        const thought = (series, column) => series.setData(own.time.map((time, i) =>
          own.decisionAt.has(i) ? { time, value: of.decisions[column][own.decisionAt.get(i)] } : { time }));
        thought(depth, "segments");
        thought(complex, "complexity");
      }
      lines.forEach((line) => bars.removePriceLine(line));
      lines = [];
      mark();
      read(own.time.length - 1);
    }

    function mark() {
      const theme = colours(), wanted = [];
      if (byId("decisions").checked) {
        own.decisions.i.forEach((i, n) => {
          const action = own.decisions.action[n];
          if (action !== 4) wanted.push({ i, mark: { time: own.time[i], position: "aboveBar", shape: "circle", color: theme.blue, size: 0.6 } });
        });
      }
      if (byId("fills").checked) {
        own.fills.forEach(([i, sign, , at]) => wanted.push({ i, mark: { time: own.time[i], price: at,
          position: sign > 0 ? "atPriceBottom" : "atPriceTop", shape: sign > 0 ? "arrowUp" : "arrowDown",
          color: sign > 0 ? theme.up : theme.down } }));
      }
      markers.setMarkers(wanted.sort((a, b) => a.i - b.i).map((one) => one.mark));
    }

    /* The line above the chart: everything that is known of bar `i`. */
    function read(i) {
      at = i;
      const parts = [["", when(own.t[i])], ["O", price(own.o[i])], ["H", price(own.h[i])], ["L", price(own.l[i])],
        ["C", price(own.c[i])]], e = own.equityAt[i], n = own.decisionAt.get(i);
      if (own.v.length) parts.push(["volume", whole.format(own.v[i])]);
      if (e >= 0) parts.push(["P&L", signed(run.equity.v[e] - run.starting)], ["drawdown", fallen(peaks[e])]);
      if (n !== undefined) {
        const of = own.decisions, why = run.reasons[of.why[n]];
        parts.push(["decided", ACTIONS[of.action[n]] + (why ? " (" + why + ")" : "")]);
        if (of.segments[n]) parts.push(["depth", of.segments[n] + ", " + run.reasons[of.halt[n]]]);
        parts.push(["complexity", of.complexity[n].toFixed(2)], ["confidence", of.confidence[n].toFixed(2)]);
      }
      (own.fillsAt.get(i) || []).forEach(([, sign, quantity, paid, costs]) =>
        parts.push([sign > 0 ? "bought" : "sold", whole.format(quantity) + " at " + price(paid) + ", costs " + rupees(costs)]));
      const line = byId("read");
      line.replaceChildren();
      parts.forEach(([name, text]) => {
        const pair = element("span", text);
        if (name) pair.prepend(element("i", name + " "));
        line.append(pair, " ");
      });
    }

    function point(i) {
      i = Math.max(0, Math.min(own.time.length - 1, i));
      const range = made.timeScale().getVisibleLogicalRange();
      if (range && (i < range.from || i > range.to)) {
        const half = (range.to - range.from) / 2;
        made.timeScale().setVisibleLogicalRange({ from: i - half, to: i + half });
      }
      stand(i);
    }

    function stand(i) {
      read(i);
      requestAnimationFrame(() => made.setCrosshairPosition(own.c[i], own.time[i], bars)); // a new range is drawn by then
    }

    function zoom(how) {
      const scale = made.timeScale(), last = own.time.length - 1, range = scale.getVisibleLogicalRange();
      if (how === "all" || !range) { scale.setVisibleLogicalRange({ from: 0, to: last }); return; }
      const middle = at >= range.from && at <= range.to ? at : (range.from + range.to) / 2;
      if (how === "in" || how === "out") {
        const half = ((range.to - range.from) / 2) * (how === "in" ? 0.5 : 2);
        scale.setVisibleLogicalRange({ from: Math.max(0, middle - half), to: Math.min(last, middle + half) });
        return;
      }
      const date = (i) => Math.floor(own.time[i] / 86400), days = how === "day" ? 0 : 6, centre = at < 0 ? last : at;
      let from = centre, to = centre;
      while (from > 0 && date(centre) - date(from - 1) <= days) from -= 1;
      while (to < last && date(to + 1) - date(centre) <= 0) to += 1;
      scale.setVisibleLogicalRange({ from: from - 0.5, to: to + 0.5 });
    }

    /* A trade's candles, its entry and its exit. */
    function jump(trade) {
      if (trade.s < 0) return;
      byId("symbol").value = String(trade.s);
      if (own.number !== trade.s) show(trade.s);
      const bar = (s) => { const i = own.e.findIndex((end) => end >= s); return i < 0 ? own.e.length - 1 : i; };
      const from = bar(trade.from), to = trade.to === null ? own.e.length - 1 : bar(trade.to), theme = colours();
      const margin = Math.max(15, Math.round((to - from) / 2));
      made.timeScale().setVisibleLogicalRange({ from: from - margin, to: to + margin });
      lines.forEach((line) => bars.removePriceLine(line));
      lines = [["in", trade.in, theme.blue], ["out", trade.out, trade.net > 0 ? theme.up : theme.down]].map(([title, at, color]) =>
        bars.createPriceLine({ price: at, color, lineWidth: 1, lineStyle: 2, axisLabelVisible: true, title }));
      byId("chart").closest(".card").scrollIntoView({ block: "start" });
      box.focus({ preventScroll: true });
      stand(from);
    }

    /* Which bars and prices are seen, for those who can't look into a canvas. */
    function visible(range) {
      if (range) Object.assign(box.dataset, { from: Math.ceil(range.from), to: Math.floor(range.to), panes: made.panes().length });
      requestAnimationFrame(() => {
        const prices = bars.priceScale().getVisibleRange();
        if (prices) Object.assign(box.dataset, { low: prices.from, high: prices.to });
      });
    }

    made.subscribeCrosshairMove((where) => {
      if (where.sourceEvent && where.logical !== undefined && where.logical !== null) {
        const i = Math.round(where.logical);
        if (i >= 0 && i < own.time.length && i !== at) read(i);
      }
    });
    const keys = { ArrowLeft: () => point(at - 1), ArrowRight: () => point(at + 1), PageUp: () => point(at - 20),
      PageDown: () => point(at + 20), Home: () => point(0), End: () => point(own.time.length - 1), "+": () => zoom("in"),
      "=": () => zoom("in"), "-": () => zoom("out"), 0: () => zoom("all") };
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    run.symbols.forEach((one, n) => byId("symbol").append(new Option(one.name, String(n))));
    byId("symbol").addEventListener("change", (event) => { show(Number(event.target.value)); zoom("all"); });
    byId("fills").addEventListener("change", mark);
    byId("decisions").addEventListener("change", mark);
    document.querySelectorAll("[data-zoom]").forEach((button) =>
      button.addEventListener("click", () => zoom(button.dataset.zoom)));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(own.number));
    if (run.notDrawn.length) byId("notdrawn").textContent = "Fewer fills, not drawn: " + run.notDrawn.join(", ");
    show(0);
    zoom("all");
    visible(made.timeScale().getVisibleLogicalRange());
    made.timeScale().subscribeVisibleLogicalRangeChange(visible);
    return { jump };
  }

  /* -- the trades ------------------------------------------------------------------------------------------------ */

  function listed() {
    const STEP = 100, table = byId("trades"), body = table.tBodies[0];
    const columns = [["Opened (IST)", "from"], ["Closed", "to"], ["Symbol", "symbol"], ["Side", "side"], ["Quantity", "quantity"],
      ["In", "in"], ["Out", "out"], ["Costs", "costs"], ["Net", "net"]];
    const FIGURES = 4;
    let key = "from", falling = true, room = STEP;

    const head = table.tHead.insertRow();
    columns.forEach(([name, column], n) => {
      const cell = element("th", undefined, n >= FIGURES ? "n" : ""), button = element("button", name);
      cell.scope = "col";
      button.type = "button";
      button.addEventListener("click", () => { falling = key === column ? !falling : n >= FIGURES || n < 2; key = column; fill(); });
      cell.append(button);
      head.append(cell);
      for (const down of [true, false]) byId("sort").append(new Option(name + (down ? " ↓" : " ↑"), column + (down ? "-" : "+")));
    });

    function fits(trade) {
      const text = byId("find").value.trim().toLowerCase(), result = byId("result").value;
      return trade.symbol.toLowerCase().includes(text) && (!byId("side").value || trade.side === byId("side").value) &&
        (!result || (result === "open" ? trade.to === null : trade.to !== null && (result === "won" ? trade.net > 0 : trade.net <= 0)));
    }

    function order(a, b) {
      const [x, y] = [a[key], b[key]].map((value) => (value === null ? Infinity : value));
      return (x < y ? -1 : x > y ? 1 : 0) * (falling ? -1 : 1);
    }

    function row(trade) {
      const made = element("tr"), cells = [when(trade.from), trade.to === null ? "still open" : when(trade.to), trade.symbol, trade.side,
        whole.format(trade.quantity), price(trade.in), price(trade.out), rupees(trade.costs), signed(trade.net)];
      cells.forEach((text, n) => {
        const cell = element("td", text, (n >= FIGURES ? "n " : n === 1 || n === 2 ? "long " : "") + (n === 8 ? tone(trade.net) : n === 3 ? (text === "LONG" ? "up" : "down") : ""));
        cell.dataset.l = n ? columns[n][0] : "Opened";
        made.append(cell);
      });
      if (chart && trade.s >= 0) {
        made.tabIndex = 0;
        const go = () => {
          body.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
          made.classList.add("chosen");
          chart.jump(trade);
        };
        made.addEventListener("click", go);
        made.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") { event.preventDefault(); go(); }
        });
      }
      return made;
    }

    function fill() {
      const found = run.trades.filter(fits).sort(order), net = found.reduce((sum, trade) => sum + trade.net, 0);
      body.replaceChildren(...found.slice(0, room).map(row));
      byId("count").textContent = whole.format(found.length) + " of " + whole.format(run.trades.length) + " trades, " + signed(net);
      byId("more").hidden = found.length <= room;
      [...head.cells].forEach((cell, n) => {
        const chosen = columns[n][1] === key;
        cell.ariaSort = chosen ? (falling ? "descending" : "ascending") : "none";
        cell.firstChild.textContent = columns[n][0] + (chosen ? (falling ? " ↓" : " ↑") : "");
      });
      byId("sort").value = key + (falling ? "-" : "+");
    }

    for (const id of ["find", "side", "result"]) byId(id).addEventListener("input", () => { room = STEP; fill(); });
    byId("sort").addEventListener("input", (event) => {
      key = event.target.value.slice(0, -1);
      falling = event.target.value.endsWith("-");
      fill();
    });
    byId("more").addEventListener("click", () => { room += STEP * 5; fill(); });
    fill();
  }
})();
