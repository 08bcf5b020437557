/* The page's own heart: asks, listens, and says honestly how old what it shows is.
   The pill is green only where hrmd answered within the last seconds, is healthy and trades. */
"use strict";
const LOOK_MS = 2000, LOST_MS = 6000, SLOW_LOOKS = 8;
const seen = { at: 0, tick: 0, status: null, health: null, reached: "", decisions: [], orders: [], bar: null, prices: new Map(), partAt: 0, partSince: 0, partWrong: "", signedOut: true, starting: true, wrong: "" };
let candles = null, curve = null, listening = false, looks = 0, soon = null, deadline = 0, placed = false;
const steady = () => performance.timeOrigin + performance.now();
/* By both clocks: one of them stands still while a laptop sleeps, the other can be set. */
const age = () => Math.max(steady() - seen.steady, Math.abs(Date.now() - seen.at));
const partly = () => !!seen.partWrong && Date.now() - seen.partSince > LOST_MS;
const lost = () => seen.at > 0 && age() > LOST_MS;

function pill() {
  const s = seen.status, gone = lost() && !seen.signedOut;
  document.body.classList.toggle("lost", gone);
  let text, kind = "pill";
  if (seen.signedOut) text = seen.starting ? "connecting" : seen.wrong || "signed out";
  else if (gone) { text = `lost since ${here(seen.at)}`; kind = "pill lost"; }
  else if (!s) text = seen.wrong || "connecting";
  else if (s.trading_state !== "ACTIVE") { text = s.trading_state; kind = "pill " + (s.trading_state === "HALTED" ? "bad" : "warn"); }
  else if (seen.health.state !== "healthy") { text = `ACTIVE, ${seen.health.state}`; kind = "pill " + (seen.health.healthy ? "warn" : "bad"); }
  else if (seen.reached) { text = "ACTIVE, opens nothing"; kind = "pill warn"; }
  else if (partly()) { text = "ACTIVE, partly old"; kind = "pill warn"; }
  else { text = "ACTIVE"; kind = "pill good"; }
  say("pill", text, kind);
  byId("pill").title = gone ? `hrmd does not answer${seen.wrong ? ": " + seen.wrong : ""}; what is shown is from then` : s ? s.trading_reason : "";
  document.title = seen.signedOut ? "hrmd" : gone ? "LOST · hrmd" : s ? `${text} ${byId("today").textContent} · hrmd` : "hrmd";
  show("lost-banner", gone);
  show("part-banner", !gone && partly() && !seen.signedOut);
  if (seen.partWrong) say("part-text", `orders, decisions, chart and log are ${seen.partAt ? "as of " + here(seen.partAt) : "not here yet"} (${seen.partWrong}).`);
  if (gone) say("lost-text", `no answer since ${here(seen.at)}${seen.wrong ? " (" + seen.wrong + ")" : ""}. Everything below is from then; orders may go on without this page. On its machine: hrmd ctl status, hrmd ctl halt.`);
}

function header(status) {
  marketDay = (status.time || "").slice(0, 10);
  say("net", signed(status.net_pnl), tone(status.net_pnl));
  say("equity", rupees(status.equity));
  say("rung", status.strategy + (status.strategies.length > 1 && status.strategy !== status.strategies[0] ? " (stepped down)" : ""));
  const since = status.last_tick_ts === null ? -1 : seconds(status.ts) - seconds(status.last_tick_ts);
  say("age", status.last_tick_ts === null ? "none yet" : `${span(Math.max(0, since))} ago`, status.feed === "connected" && since < 60 ? "" : "warn");
  byId("age").title = `${day(status.time)} ${clock(status.time)} IST, feed ${status.feed}`;
  say("about", `hrmd ${status.version} · ${status.mode} · market time ${day(status.time)} ${clock(status.time)} IST · running since ${day(status.started_time)} ${clock(status.started_time)} IST.`);
}

async function look() {
  try {
    const [status, health, positions, risk] = await Promise.all(["/status", "/health", "/positions", "/risk"].map((path) => ask(path)));
    Object.assign(seen, { at: Date.now(), steady: steady(), status, health, reached: risk.reached, wrong: "" });
    positions.forEach((row) => row.last_price !== null && seen.prices.set(row.symbol, row.last_price));
    deadline = status.inference ? status.inference.deadline_ms : 0;
    signedIn(status, positions);
    header(status);
    showRisk(risk);
    showHealth(status, health);
    showBanners(status, health, risk);
    showPositions(positions, (row) => close(row, now));
    await rest();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return signOut();
    seen.wrong = notAnswered(error);
  }
  pill();
}

/* What fails here leaves the figures above fresh; the page says that the rest is not, and asks again. */
async function rest() {
  const all = looks % SLOW_LOOKS === 0 || seen.stale;
  try {
    if (all) await slowly();
    else if (looks % 2 === 0) await tail();
    if (all) Object.assign(seen, { partAt: Date.now(), partWrong: "" });
    looks += 1;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) throw error;
    if (!seen.partWrong) seen.partSince = Date.now();
    seen.partWrong = notAnswered(error);
    looks = 0;
  }
}

/* What changes with a bar or an order; frames bring it at once, this brings what they missed. */
async function slowly() {
  seen.stale = false;
  const [orders, decisions, equity, agents, canary, migration] = await Promise.all(
    ["/orders?limit=200", "/decisions?limit=400", "/equity?limit=1000", "/shadow", "/canary", "/migration"].map((path) => ask(path)));
  Object.assign(seen, { orders, decisions });
  curve.fill(equity);
  showAgents(agents);
  showSteps(canary, migration);
  redrawn();
  await Promise.all([chartAnew(!placed), tail()]);
}

function redrawn() {
  showOrders(seen.orders, (row) => cancel(row, now));
  showDecisions(seen.decisions);
  showReasoning(seen.decisions, deadline);
  if (seen.bar) readBar(seen.bar);
  marked();
}

function marked() {
  const symbol = byId("symbol").value, mine = (row) => row.symbol === symbol;
  candles.decided(seen.decisions.filter(mine), seen.orders.filter(mine));
}

async function chartAnew(toTheEnd) {
  const symbol = byId("symbol").value, interval = byId("interval").value;
  const rows = await ask(`/bars?limit=500&symbol=${encodeURIComponent(symbol)}&interval=${interval}`);
  if (symbol !== byId("symbol").value || interval !== byId("interval").value) return;
  candles.fill(rows, interval);
  seen.bar = null;
  if (rows.length) readBar(rows[0]);
  else say("read", `${symbol}: no bar of ${interval} has closed yet.`);
  marked();
  if (toTheEnd) candles.newest();
  placed = true;
}

/* What was decided on it is the first decision since it closed: that of the bar before says nothing about it. */
function readBar(row) {
  seen.bar = row;
  const made = seen.decisions.findLast((one) => one.symbol === row.symbol && BigInt(one.ts) >= BigInt(row.close_ts));
  const said = made ? ` · then: ${decisionWords(made).head}` : "";
  say("read", `${row.symbol} ${moment(row.open_time, 5)} O ${price(row.open)} H ${price(row.high)} L ${price(row.low)} C ${price(row.close)}${row.volume === null ? "" : ` volume ${count(row.volume)}`}${row.gap ? " (ticks may be missing)" : ""}${said}`);
}

async function tail() {
  showLog(await ask(`/logs?limit=150&level=${byId("level").value}`));
}

function now() {
  clearTimeout(soon);
  soon = setTimeout(async () => { looks = Math.ceil(looks / SLOW_LOOKS) * SLOW_LOOKS || SLOW_LOOKS; await look(); }, 150);
}

function hear(frame) {
  if (!candles || seen.signedOut) return;
  const shown = frame.symbol === byId("symbol").value;
  switch (frame.type) {
    case "quote":
      seen.prices.set(frame.symbol, frame.price);
      if (shown) candles.tick(Number(frame.price), frame.ts);
      break;
    case "bar":
      seen.stale = true;
      if (shown && frame.interval === byId("interval").value) { candles.bar(frame); readBar(frame); }
      break;
    case "decision":
      seen.decisions = [frame, ...seen.decisions].slice(0, 400);
      later();
      break;
    case "order":
      seen.orders = [{ ...frame, type: frame.order_type }, ...seen.orders.filter((row) => row.order_id !== frame.order_id)].sort((a, b) => Number(BigInt(b.ts) - BigInt(a.ts))).slice(0, 200);
      later();
      break;
    case "fill": case "state": case "strategy": case "model": case "setting": case "health":
      now();
      break;
  }
}

let drawing_soon = null;
function later() {
  if (drawing_soon === null) drawing_soon = setTimeout(() => { drawing_soon = null; redrawn(); }, 250);
}

function signedIn(status, positions) {
  if (!seen.signedOut) return;
  seen.signedOut = seen.starting = false;
  for (const id of ["symbol", "ticket-symbol"]) byId(id).replaceChildren(...status.symbols.map((name) => new Option(name, name)));
  const held = positions.find((row) => row.quantity && status.symbols.includes(row.symbol));
  if (held) byId("symbol").value = held.symbol;
  show("door", false);
  for (const id of ["grid", "figures", "commands"]) show(id, true);
  candles = candles || candleChart();
  curve = curve || equityChart();
  looks = 0;
  placed = false;
  if (!listening) listen(hear, () => { if (seen.signedOut) listening = false; return seen.signedOut; });
  listening = true;
}

function signOut() {
  if (!seen.signedOut) tell("The session is over: hrmd was started again, or the session's time or its token has ended.", "bad");
  Object.assign(seen, { signedOut: true, starting: false, status: null, at: 0, wrong: "", partAt: 0, partWrong: "" });
  show("door", true);
  for (const id of ["grid", "figures", "commands"]) show(id, false);
  byId("banners").replaceChildren();
  delete byId("banners").dataset.stamp;
  pill();
}

function alarm(name, kind, title) {
  const banner = element("div", undefined, "banner " + kind);
  banner.id = name + "-banner";
  banner.setAttribute("role", "alert");
  banner.hidden = true;
  banner.append(element("b", title), Object.assign(element("span"), { id: name + "-text" }));
  byId("banners").before(banner);
}

async function begin() {
  alarm("lost", "bad", "hrmd is lost: ");
  alarm("part", "bad", "Partly old: ");
  try {
    if (await arrive()) show("said", false);
  } catch (error) {
    tell(notAnswered(error), "bad");
  }
  try {
    const config = await ask("/api/config"), own = config.settings.strategy.interval;
    byId("interval").replaceChildren(...config.settings.bars.intervals.filter((one) => one !== "1d").map((one) => new Option(one, one, one === own, one === own)));
    await look();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) signOut();
    else { seen.starting = false; seen.wrong = notAnswered(error); setTimeout(begin_again, LOOK_MS); }
  }
  pill();
}
const begin_again = () => { for (const name of ["lost", "part"]) byId(name + "-banner").remove(); begin(); };

/* A link that is opened where the page is open already: the browser loads nothing anew. */
addEventListener("hashchange", () => { if (location.hash.startsWith("#code=")) begin_again(); });
byId("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  byId("token").value = "";
  try {
    await ask("/api/auth/login", { token });
    show("said", false);
    begin_again();
  } catch (error) {
    tell(notAnswered(error), "bad");
  }
});
document.querySelectorAll("[data-command]").forEach((button) => button.addEventListener("click", () => command(button.dataset.command, now)));
byId("ticket").addEventListener("submit", (event) => { event.preventDefault(); ticket((symbol) => seen.prices.get(symbol), now); });
/* The last price of what is chosen, to begin with: that of another symbol is none. */
for (const id of ["ticket-type", "ticket-symbol"]) byId(id).addEventListener("change", () => {
  const limit = byId("ticket-type").value === "limit", price = byId("ticket-price");
  price.disabled = !limit;
  price.required = limit;
  price.value = limit ? seen.prices.get(byId("ticket-symbol").value) || "" : "";
});
/* Nothing of another symbol stays under the new name; where no bars come they are asked for again with the next look. */
for (const id of ["symbol", "interval"]) byId(id).addEventListener("change", () => {
  seen.bar = null;
  say("read", `${byId("symbol").value}: bars of ${byId("interval").value} are asked for …`);
  candles.fill([], byId("interval").value);
  chartAnew(true).catch(() => { seen.stale = true; });
});
for (const id of ["with-decisions", "with-fills"]) byId(id).addEventListener("change", marked);
byId("no-holds").addEventListener("change", () => showDecisions(seen.decisions));
byId("level").addEventListener("change", () => tail().catch(() => {}));
byId("said").addEventListener("click", () => show("said", false));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (candles) { candles.dressed(); curve.dressed(); chartAnew(false).catch(() => {}); } });
document.addEventListener("visibilitychange", () => { pill(); if (!document.hidden && !seen.signedOut) look(); });
setInterval(pill, 500);
(async function forever() {
  await begin();
  for (;;) {
    await new Promise((done) => setTimeout(done, LOOK_MS));
    if (!seen.signedOut) await look();
  }
})();
