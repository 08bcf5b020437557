/* Values of the API → what a trader reads. Money comes as exact text and is only rounded to be shown. */
"use strict";
const IST_S = 19800; // charts count in UTC: shown times are moved to India's
const OPEN_S = 33300; // 09:15, from which bars are counted where none is known
const byId = (id) => document.getElementById(id);
const twoPlaces = new Intl.NumberFormat("en-IN", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const places = new Intl.NumberFormat("en-IN", { minimumFractionDigits: 2, maximumFractionDigits: 4 });
const price = (value) => places.format(Number(value)); // of a market: a currency's has four places
const whole = new Intl.NumberFormat("en-IN");
const count = (n) => whole.format(Number(n));
const rupees = (value) => (Number(value) < 0 ? "−₹" : "₹") + twoPlaces.format(Math.abs(Number(value)));
const signed = (value) => (Number(value) > 0 ? "+" : "") + rupees(value);
const tone = (value) => (Number(value) > 0 ? "up" : Number(value) < 0 ? "down" : "");
const words = (name) => String(name).replaceAll("_", " ").toLowerCase();
const clock = (rfc) => (rfc ? rfc.slice(11, 19) : "–"); // already in India's time
const day = (rfc) => (rfc ? new Date(rfc.slice(0, 10) + "T00:00:00Z").toLocaleDateString("en-GB", { timeZone: "UTC", weekday: "short", day: "numeric", month: "short" }) : "");
let marketDay = ""; // as the status says it, YYYY-MM-DD
/* A time of the market's day; of another day its date, too: an order of yesterday is none of today. */
const moment = (rfc, digits = 8) => (!rfc || !marketDay || rfc.startsWith(marketDay) ? clock(rfc).slice(0, digits) : `${day(rfc).replace(/^\w+,? /, "")} ${clock(rfc).slice(0, 5)}`);
const wall = (ms) => new Date(ms).toLocaleTimeString("en-GB", { timeZone: "Asia/Kolkata" }); // as all other times
let ahead = 0; // by so many ms the clock of hrmd's machine is, where this one's is wrong
const here = (ms) => wall(ms + ahead);
const seconds = (ns) => Number(BigInt(ns) / 1000000n) / 1000;
const span = (s) => (s < 0 ? "–" : s < 120 ? Math.round(s) + " s" : s < 7200 ? Math.round(s / 60) + " min" : Math.round(s / 3600) + " h");
const short = (symbol) => symbol.replace(/^[A-Z]+:/, "").replace(/-(EQ|INDEX)$/, "");

/* An element with text: never HTML, whatever a reason or a symbol calls itself. */
const element = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
const drawing = (name, attributes, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
/* Only what differs is written, so that a screen reader hears changes and nothing else. */
const say = (id, text, kind) => {
  const at = byId(id);
  if (at.textContent !== text) at.textContent = text;
  if (kind !== undefined && at.className !== kind) at.className = kind;
};
const show = (id, yes) => { byId(id).hidden = !yes; };

/* Of a bar that holds the moment `s` (UTC seconds): when it began; bars are counted from the session's open, as the bar that began at `known` was. */
const beginning = (s, interval, known) => {
  const local = s + IST_S, first = known ?? Math.floor(local / 86400) * 86400 + OPEN_S;
  return first + Math.floor((local - first) / interval) * interval;
};
const lasting = (interval) => ({ m: 60, d: 86400 })[interval.slice(-1)] * parseInt(interval, 10);

/* A table whose rows stay the same elements as long as their key does: focus and selection outlive a refresh. */
function table(id, rows, empty, columns, key) {
  const box = byId(id);
  if (!rows.length) {
    if (!box.querySelector(".empty")) box.replaceChildren(element("p", empty, "empty"));
    return;
  }
  const titles = columns.map(([title]) => title).join("|");
  let body = box.dataset.columns === titles ? box.querySelector("tbody") : null;
  if (!body) {
    box.dataset.columns = titles;
    const made = element("table", undefined, "stack"), head = made.createTHead().insertRow(), frame = element("div", undefined, "scroll");
    for (const [title, , kind] of columns) {
      const cell = element("th", title, kind === "n" ? "n" : "");
      cell.scope = "col";
      head.append(cell);
    }
    body = made.createTBody();
    frame.append(made);
    box.replaceChildren(frame);
  }
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach((row, place) => {
    const name = key(row);
    let line = known.get(name);
    known.delete(name);
    if (!line) {
      line = element("tr");
      line.dataset.key = name;
      for (const [title, , kind] of columns) {
        const cell = element("td", undefined, kind || "");
        cell.dataset.l = title;
        line.append(cell);
      }
    }
    if (body.rows[place] !== line) body.insertBefore(line, body.rows[place] || null);
    columns.forEach(([, value, kind = ""], n) => fillCell(line.cells[n], value(row), kind));
  });
  for (const gone of known.values()) gone.remove();
}

function fillCell(cell, value, kind) {
  const { text, style = "", press } = typeof value === "object" ? value : { text: value };
  const wanted = (kind + " " + style).trim();
  if (cell.className !== wanted) cell.className = wanted;
  if (!press) {
    if (cell.textContent !== text) cell.textContent = text;
    return;
  }
  let button = cell.querySelector("button");
  if (!button) {
    button = element("button");
    button.type = "button";
    cell.replaceChildren(button);
  }
  if (button.textContent !== text) button.textContent = text;
  button.setAttribute("aria-label", value.label || text);
  button.onclick = press;
}
