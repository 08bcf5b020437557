/* Answers of hrmd → what each part of the page says. Nothing here asks or commands. */
"use strict";
const DONE = new Set(["FILLED", "CANCELLED", "REJECTED", "DENIED", "EXPIRED"]);
const ACTIONS = { BUY_LONG: "buy", SELL_SHORT: "sell short", CLOSE_LONG: "close the long", CLOSE_SHORT: "close the short", HOLD: "hold" };
const STOPPED = { q_halt: "it was sure enough", converged: "nothing moved any more", max_segments: "that is the most it may", deadline: "its time was up", max_cycles: "that is the most it may",
  single_cycle: "its time was short", late: "its turn came too late" };
const percent = (share) => Math.round(100 * share) + " %";

/* "2 segments, q_halt" as people would say it. */
const thoughtWords = (segments, stop) => `thought ${segments} ${Number(segments) === 1 ? "segment" : "segments"}${stop ? ", then " + (STOPPED[stop] || words(stop)) : ""}`;
const reasonWords = (reason) => reason.replace(/^(\d+ bars?),/, "$1 so far,").replace(/(\d+) segments?, (\w+)/g, (_, segments, stop) => thoughtWords(segments, stop));

/* A decision in words: what, how sure, and what mattered. Of a hold no quantity: there is nothing to buy. */
function decisionWords(row) {
  const what = ACTIONS[row.action] || words(row.action), acts = row.action !== "HOLD";
  const opens = row.action === "BUY_LONG" || row.action === "SELL_SHORT";
  const sized = opens && row.quantity ? ` up to ${count(row.quantity)}` : ""; // risk's limits may make it fewer
  const sure = row.confidence > 0 ? `, ${percent(row.confidence)} sure` : "";
  const head = row.failed ? "could not decide, holds" : what + sized + (acts || row.segments ? sure : "");
  const parts = [];
  if (row.why) parts.push(`what mattered: ${row.why}`);
  if (row.reason) parts.push(reasonWords(row.reason));
  if (row.segments && !/\d segments?, \w/.test(row.reason)) parts.push(thoughtWords(row.segments, row.halt_reason));
  if (row.regime && row.regime !== "unknown") parts.push(`market ${row.regime}, complexity ${row.complexity.toFixed(2)}`);
  else if (row.segments) parts.push("market not yet known: too few bars");
  return { head, why: parts.join("; ") };
}

function showDecisions(rows) {
  const quiet = byId("no-holds").checked, wanted = rows.filter((row) => !quiet || row.action !== "HOLD").slice(0, 60);
  const list = byId("decisions"), stamp = wanted.map((row) => row.ts + row.symbol).join() + quiet;
  if (list.dataset.stamp === stamp) return;
  list.dataset.stamp = stamp;
  list.replaceChildren(...(wanted.length ? wanted.map((row) => {
    const { head, why } = decisionWords(row), line = element("li", undefined, row.action === "HOLD" && !row.failed ? "quiet" : "");
    const tint = row.failed ? "down" : row.action === "BUY_LONG" ? "up" : row.action === "SELL_SHORT" ? "down" : "";
    line.append(element("time", moment(row.time)), element("b", short(row.symbol) + ": "), element("b", head, tint));
    line.append(element("p", `${why ? "Why: " + why + ". " : ""}By ${row.strategy} at ${rupees(row.price)}.`));
    return line;
  }) : [element("li", quiet ? "Only holds so far." : "No decision yet: the strategy waits for enough bars.", "empty")]));
}

function showPositions(rows, close) {
  const guarded = rows.some((row) => row.stop || row.target); // a column of dashes would take the room of the costs
  table("positions", rows, "No position yet.", [
    ["Symbol", (row) => row.symbol],
    ["Quantity", (row) => ({ text: row.quantity ? count(row.quantity) : "flat", style: tone(row.quantity) }), "n"],
    ["Average", (row) => (row.quantity ? rupees(row.average_price) : "–"), "n"],
    ["Last", (row) => (row.last_price === null ? "–" : rupees(row.last_price)), "n"],
    ...(guarded ? [["Stop · target", (row) => (row.stop || row.target ? [row.stop, row.target].map((it) => (it ? rupees(it) : "–")).join(" · ") : "–"), "n"]] : []),
    ["Open P&L", (row) => (row.unrealised_pnl === null || !row.quantity ? "–" : { text: signed(row.unrealised_pnl), style: tone(row.unrealised_pnl) }), "n"],
    ["Realised", (row) => ({ text: signed(row.realised_pnl), style: tone(row.realised_pnl) }), "n"],
    ["Costs", (row) => rupees(row.costs), "n"],
    ["", (row) => (row.quantity ? { text: "Close", label: `Close ${row.symbol}`, press: () => close(row) } : ""), "act"],
  ], (row) => row.symbol);
}

function showOrders(rows, cancel) {
  table("orders", rows.slice(0, 40), "No order yet.", [
    ["Time", (row) => moment(row.time)],
    ["Symbol", (row) => row.symbol],
    ["Side", (row) => ({ text: words(row.side), style: row.side === "BUY" ? "up" : "down" })],
    ["Filled", (row) => `${count(row.filled)} of ${count(row.quantity)}`, "n"],
    ["Price", (row) => (row.average_price !== null ? rupees(row.average_price) : row.limit_price !== null ? "limit " + rupees(row.limit_price) : row.stop_price ? "stop " + rupees(row.stop_price) : words(row.type)), "n"],
    ["State", (row) => ({ text: words(row.state), style: ["DENIED", "REJECTED", "UNKNOWN"].includes(row.state) ? "down" : "" })],
    ["Why", (row) => (row.reason ? reasonWords(row.reason) : "–"), "long"],
    ["", (row) => (DONE.has(row.state) ? "" : { text: "Cancel", label: `Cancel order ${row.order_id}`, press: () => cancel(row) }), "act"],
  ], (row) => row.order_id);
}

function meter(share, kind) {
  const bar = drawing("svg", { class: "meter " + kind, "aria-hidden": "true" });
  bar.append(drawing("rect", { class: "room", width: "100%", height: "100%", rx: 3 }),
    drawing("rect", { width: (100 * Math.max(0, Math.min(1, share))).toFixed(1) + "%", height: "100%", rx: 3 }));
  return bar;
}

function showRisk(risk) {
  say("today", signed(risk.day_pnl), tone(risk.day_pnl));
  byId("gauges").replaceChildren(...risk.gauges.map((one) => {
    const box = element("div", undefined, "gauge"), head = element("div"), of = (value) => (one.unit === "₹" ? rupees(value) : count(value));
    const says = `${of(one.used)} of ${of(one.limit)}${one.unit && one.unit !== "₹" ? " " + one.unit : ""}, ${percent(one.share)}`;
    head.append(element("span", one.name), element("small", says, one.share >= 1 ? "down" : ""));
    box.append(head, meter(one.share, one.share >= 0.9 ? "bad" : one.share >= 0.6 ? "amber" : ""));
    return box;
  }));
  if (risk.free !== null) byId("gauges").append(element("p", `${rupees(risk.free)} free for margin`, "hint"));
}

function showHealth(status, health) {
  const rungs = element("ol", undefined, "rungs");
  rungs.setAttribute("aria-label", "Ladder of strategies, best first");
  for (const name of status.strategies.includes(status.strategy) ? status.strategies : [status.strategy, ...status.strategies]) {
    const step = element("li", name);
    if (name === status.strategy) step.setAttribute("aria-current", "true");
    rungs.append(step);
  }
  const reasons = status.inference && status.model.includes(status.inference.model_hash.slice(0, 12));
  const facts = [status.strategy_reason && `${status.strategy} decides: ${status.strategy_reason}${status.strategy_who ? ` (${status.strategy_who})` : ""}`,
    status.strategy_steps.length && `done by itself: ${status.strategy_steps.map(words).join(", ")}`, status.strategy_back,
    status.strategy_lock && `locked by ${status.strategy_lock_who || "somebody"}: ${status.strategy_lock}`,
    ...Object.entries(status.strategies_missing).map(([name, why]) => `${name} can't be built: ${why}`),
    status.model && `model ${status.model}${reasons ? ", " + status.inference.runtime : ""}`, status.session && "market " + status.session,
    `feed ${status.feed}`, status.recorder && `${count(status.recorder.recorded)} ticks on tape${status.recorder.lost ? `, ${count(status.recorder.lost)} lost` : ""}`,
    status.token && `broker's access ${status.token}`, ...status.notes].filter(Boolean);
  const stamp = JSON.stringify([status.strategies, status.strategy, facts]);
  if (byId("ladder").dataset.stamp !== stamp) {
    byId("ladder").dataset.stamp = stamp;
    byId("ladder").replaceChildren(rungs, ...facts.map((fact) => element("div", fact, "hint")));
  }
  const rank = { fail: 0, warn: 1, ok: 2 }, list = element("ul", undefined, "checks");
  list.setAttribute("aria-label", "Checks");
  list.tabIndex = 0;
  for (const check of [...health.checks].sort((a, b) => rank[a.status] - rank[b.status])) {
    const line = element("li", `${words(check.name)}: ${check.text}`, check.status);
    if (check.do) line.append(element("small", "→ " + check.do));
    list.append(line);
  }
  const text = list.textContent;
  if (byId("checks").dataset.stamp !== text) {
    const at = byId("checks").firstChild?.scrollTop || 0;
    byId("checks").dataset.stamp = text;
    byId("checks").replaceChildren(list);
    list.scrollTop = at;
  }
}

/* What nobody may overlook, above everything else; said anew only when it changes. */
function showBanners(status, health, risk) {
  const found = [];
  if (status.trading_state !== "ACTIVE") {
    const means = status.trading_state === "HALTED" ? "no new risk is taken" : "positions are only closed";
    const given = status.trading_reason && status.trading_reason !== "by the operator" ? status.trading_reason : "No reason was given";
    found.push(["bad", status.trading_state, `${means}. ${given}${status.trading_who ? ` (${status.trading_who})` : ""}`]);
  }
  if (risk.reached) found.push(["bad", "No more today", risk.reached]);
  const down = status.strategies.length > 0 && status.strategy !== status.strategies[0];
  if (down) found.push(["bad", "Stepped down", `${status.strategy} decides instead of ${status.strategies[0]}: ${status.strategy_reason || "no reason is known"}${status.strategy_who ? ` (${status.strategy_who})` : ""}. ${status.strategy_back || `hrmd ctl strategy ${status.strategies[0]} puts it back`}`]);
  if (status.strategy_steps.length) found.push(["warn", "Eased", `${status.strategy} is given ${status.strategy_steps.map(words).join(", ")}. ${status.strategy_back}`]);
  for (const [name, why] of Object.entries(status.strategies_missing)) found.push(["bad", "Rung missing", `${name} can't be built: ${why}`]);
  if (status.model_simulated && !status.simulated) found.push(["bad", "Untried model", `${status.model || status.strategy} has learned from a simulated market alone, and these ticks are real.`]);
  if (status.model.startsWith("untrained")) found.push(["warn", "Untrained model", `${status.model}: its weights were never trained, its decisions mean nothing.`]);
  for (const check of health.checks.filter((one) => one.status === "fail")) found.push(["bad", "Not healthy", `${words(check.name)}: ${check.text}${check.do ? " → " + check.do : ""}`]);
  for (const check of health.checks.filter((one) => one.status === "warn" && !(down && one.name === "ladder"))) found.push(["warn", "Worth a look", `${words(check.name)}: ${check.text}${check.do ? " → " + check.do : ""}`]);
  if (status.simulated) found.push(["note", "Simulated ticks", "made up by a program; nothing below is a market result."]);
  const stamp = JSON.stringify(found), box = byId("banners");
  if (box.dataset.stamp === stamp) return;
  box.dataset.stamp = stamp;
  box.replaceChildren(...found.map(([kind, title, text]) => {
    const line = element("div", undefined, "banner " + kind);
    line.append(element("b", title + ": "), text);
    return line;
  }));
}

function showReasoning(rows, deadline) {
  const thought = rows.filter((row) => row.segments > 0);
  show("reasoning", rows.length > 0);
  const took = rows.map((row) => row.adaptive_time_used).filter((ms) => ms >= 0), sorted = [...took].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const ms = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(0)) + " ms";
  const late = deadline ? took.filter((value) => value > deadline).length : 0;
  if (sorted.length) say("reasoning-read", `${thought.length ? `${(thought.reduce((sum, row) => sum + row.segments, 0) / thought.length).toFixed(1)} segments on average; ` : "No model reasons; "}half the decisions within ${ms(at(0.5))}, 95 % within ${ms(at(0.95))}${deadline ? `, ${late} of ${sorted.length} after the deadline of ${deadline} ms` : ""}`);
  drawScatter(thought);
  drawLatency(took.slice(0, 80).reverse(), deadline);
}

function drawScatter(rows) {
  const most = Math.max(4, ...rows.map((row) => row.segments)), x = (v) => 24 + 286 * v, y = (v) => 128 - 116 * (v / most);
  const parts = [drawing("path", { class: "axis", fill: "none", d: `M24,8V128H314` })];
  for (const v of [0, 0.5, 1]) parts.push(drawing("text", { x: x(v), y: 144, "text-anchor": v === 1 ? "end" : "middle" }, v === 1 ? "complexity 1" : String(v)));
  for (const v of [0, most / 2, most]) parts.push(drawing("text", { x: 18, y: y(v) + 3, "text-anchor": "end" }, String(Math.round(v))));
  for (const row of rows) parts.push(drawing("circle", { class: "dot", cx: x(row.complexity).toFixed(1), cy: y(row.segments).toFixed(1), r: 3 }));
  const bins = Array.from({ length: 10 }, (_, n) => rows.filter((row) => Math.min(9, Math.floor(row.complexity * 10)) === n));
  const mean = bins.map((bin, n) => bin.length && `${x((n + 0.5) / 10).toFixed(1)},${y(bin.reduce((sum, row) => sum + row.segments, 0) / bin.length).toFixed(1)}`).filter(Boolean);
  if (mean.length > 1) parts.push(drawing("polyline", { class: "mean", points: mean.join(" ") }));
  if (!rows.length) parts.push(drawing("text", { x: 165, y: 72, "text-anchor": "middle" }, "no decision was reasoned about yet"));
  byId("scatter").replaceChildren(...parts);
}

function drawLatency(took, deadline) {
  const most = Math.max(0.001, ...took, ...(deadline && Math.max(...took) > deadline / 4 ? [deadline] : [])), wide = 276 / Math.max(20, took.length);
  const parts = [drawing("path", { class: "axis", fill: "none", d: "M44,8V128H320" }), drawing("text", { x: 40, y: 16, "text-anchor": "end" }, (most < 10 ? most.toFixed(1) : most.toFixed(0)) + " ms"),
    drawing("text", { x: 40, y: 130, "text-anchor": "end" }, "0 ms")];
  took.forEach((value, n) => {
    const tall = Math.max(1, 116 * value / most);
    parts.push(drawing("rect", { class: deadline && value > deadline ? "late" : "spike", x: (44 + n * wide).toFixed(1), y: (128 - tall).toFixed(1), width: Math.max(1, wide - 1).toFixed(1), height: tall.toFixed(1) }));
  });
  if (deadline && deadline <= most) parts.push(drawing("path", { class: "limit", d: `M44,${(128 - 116 * deadline / most).toFixed(1)}H320` }));
  byId("latency").replaceChildren(...parts);
}

function showLog(lines) {
  const box = byId("log"), at_end = box.scrollHeight - box.scrollTop - box.clientHeight < 30, last = lines[lines.length - 1];
  const stamp = lines.length + (last ? last.timestamp + last.event : "");
  if (box.dataset.stamp === stamp) return;
  box.dataset.stamp = stamp;
  box.replaceChildren(...lines.map((line) => {
    const row = element("div", undefined, line.level), fields = Object.entries(line.fields).filter(([, value]) => value !== null && value !== "");
    row.append(element("time", wall(Date.parse(line.timestamp))), `${line.level === "info" ? "" : line.level + ": "}${line.event} ${fields.map(([key, value]) => `${key}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" ")}`);
    return row;
  }));
  if (at_end) box.scrollTop = box.scrollHeight;
}

function showAgents(rows) {
  show("agents", rows.length > 1);
  if (rows.length < 2) return;
  table("shadow", rows, "", [
    ["Agent", (row) => row.name],
    ["Strategy", (row) => row.strategy + (row.model ? ` · ${row.model}` : ""), "long"],
    ["Net P&L", (row) => ({ text: signed(row.net_pnl), style: tone(row.net_pnl) }), "n"],
    ["Against", (row) => (row.difference === null ? "–" : { text: signed(row.difference), style: tone(row.difference) }), "n"],
    ["Decisions", (row) => count(row.decisions), "n"],
    ["Agrees", (row) => (row.agreement === null ? "–" : percent(row.agreement)), "n"],
    ["Trades", (row) => count(row.trades), "n"],
    ["State", (row) => (row.dropped ? { text: "dropped: " + row.dropped, style: "down" } : row.in_charge ? "in charge" : row.evidence ? row.evidence.verdict : "on paper"), "long"],
  ], (row) => row.name);
}

function showSteps(canary, migration) {
  const runs = canary.state !== "none", moves = migration.stage !== "none";
  show("steps", runs || moves);
  say("canary", runs ? `Canary ${canary.state}: ${canary.agent} (${canary.strategy}) on ${canary.symbols.map(short).join(", ")} at ${percent(canary.size)} of the size, against ${canary.against}. ${canary.sessions} sessions, ${canary.mean_bp.toFixed(2)} bp a session; proof better ${canary.better.toFixed(2)}, worse ${canary.worse.toFixed(2)}, needed ${canary.needed.toFixed(0)}.${canary.net_pnl === null ? "" : " " + signed(canary.net_pnl) + " so far."} ${canary.reason}` : "", "facts");
  say("migration", moves ? `Migration: stage ${migration.stage}, next ${migration.next}${migration.ready ? ", ready for a person's word" : ""}. ${migration.gates.filter((gate) => !gate.passed).map((gate) => `${gate.name}: ${gate.text}`).join("; ")} ${migration.halted || migration.trouble}` : "", "facts");
}
