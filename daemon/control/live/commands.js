/* What a person tells hrmd. Each command is looked at again before it goes, and each answer is shown in words. */
"use strict";
const MEANING = {
  halt: ["Halt trading", "No new risk is taken. Open positions stay; exits go on where the settings say so."],
  resume: ["Resume trading", "Decisions become orders again."],
  reduce: ["Only close", "No position is opened or enlarged from now on."],
  flatten: ["Flatten everything", "Working orders are cancelled and every position is closed at the market."],
};

/* The reason ("" for none), or null where it was thought better of. */
function confirmed(title, text, yes) {
  const dialog = byId("ask");
  if (dialog.open) return Promise.resolve(null);
  say("ask-title", title);
  say("ask-text", text);
  say("ask-yes", yes);
  byId("reason").value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  byId("ask-yes").focus();
  return new Promise((done) => {
    dialog.onclose = () => done(dialog.returnValue === "yes" ? byId("reason").value.trim() : null);
  });
}

/* A yes is a press of its own: the second half of a double click, or a key that is held down, is none. */
byId("ask-yes").addEventListener("click", (event) => { if (event.detail > 1) event.preventDefault(); });
document.addEventListener("keydown", (event) => { if (event.repeat && event.key === "Enter") event.preventDefault(); });

function tell(text, kind = "note") {
  say("said", text, "banner " + kind);
  show("said", true);
}

const withReason = (body, reason) => (reason ? { ...body, reason } : body);
const whyNot = (error) => (error instanceof Refused ? error.message : `${notAnswered(error)}; it may yet be taken. Give it again: twice does no harm`);

async function command(word, again) {
  const [title, text] = MEANING[word], reason = await confirmed(title, text, title);
  if (reason === null) return;
  tell(`${title}: asked …`);
  try {
    const { already } = await ask("/control/" + word, withReason({}, reason));
    tell(`${title}: taken at ${here(Date.now())}${already ? "; " + already : ""}.`);
  } catch (error) {
    tell(`${title}: ${whyNot(error)}`, "bad");
  }
  again();
}

async function cancel(row, again) {
  const reason = await confirmed("Cancel the order", `${words(row.side)} ${count(row.quantity)} ${row.symbol}, ${count(row.filled)} filled (${row.order_id})`, "Cancel the order");
  if (reason === null) return;
  try {
    await ask("/control/cancel", withReason({ order_id: row.order_id }, reason));
    tell(`Cancellation of ${row.order_id} is asked for.`);
  } catch (error) {
    tell(`Not cancelled: ${whyNot(error)}`, "bad");
  }
  again();
}

const newKey = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/* An order that got no answer keeps its key, over a reload too: asked again, it is placed once. */
const unanswered = new Map(JSON.parse(sessionStorage.getItem("unanswered") || "[]"));
const keepUnanswered = () => sessionStorage.setItem("unanswered", JSON.stringify([...unanswered]));

async function place(order, title, text, again) {
  const reason = await confirmed(title, text, title);
  if (reason === null) return;
  const same = JSON.stringify(order), key = unanswered.get(same) || newKey();
  unanswered.set(same, key);
  keepUnanswered();
  let said, kind = "note";
  try {
    const answer = await ask("/control/order", withReason({ ...order, key }, reason));
    unanswered.delete(same);
    const ended = ["CANCELLED", "REJECTED", "EXPIRED"].includes(answer.state) && !answer.filled;
    said = !answer.approved ? `Denied by risk: ${words(answer.check)} is ${answer.value}, the limit ${answer.limit}.`
      : ended ? `Approved as ${answer.order_id}, but ${answer.state.toLowerCase()}: ${answer.reason}.`
      : `Approved as ${answer.order_id}${["INTENT", "APPROVED"].includes(answer.state) ? ", not sent yet" : ""}; what becomes of it is among the orders.`;
    if (!answer.approved || ended) kind = "bad";
  } catch (error) {
    kind = "bad";
    if (error instanceof Refused && error.status !== 503) unanswered.delete(same);
    said = unanswered.has(same) ? `No answer yet (${notAnswered(error)}). Give the same order again: it is not placed twice.` : `Not placed: ${error.message}`;
  }
  keepUnanswered();
  tell(`${title}: ${said}`, kind);
  say("ticket-said", said);
  again();
}

function close(row, again) {
  const order = { symbol: row.symbol, side: row.quantity > 0 ? "sell" : "buy", quantity: Math.abs(row.quantity), type: "market", reduce_only: true };
  const open = row.unrealised_pnl === null ? "" : `\nOpen P&L ${signed(row.unrealised_pnl)}.`;
  return place(order, `Close ${row.symbol}`, `${order.side === "sell" ? "Sell" : "Buy"} ${count(order.quantity)} at the market.${open}`, again);
}

function ticket(lastPrice, again) {
  const side = byId("ticket-side").value, type = byId("ticket-type").value, symbol = byId("ticket-symbol").value;
  const order = { symbol, side, quantity: Number(byId("ticket-quantity").value), type, reduce_only: byId("ticket-reduce").checked };
  if (type === "limit") order.price = byId("ticket-price").value;
  const price = type === "limit" ? order.price : lastPrice(symbol);
  const about = price ? `, about ${rupees(order.quantity * Number(price))}` : "";
  const verb = side === "buy" ? "Buy" : "Sell";
  return place(order, `${verb} ${short(symbol)}`, `${verb} ${count(order.quantity)} ${symbol} ${type === "limit" ? "at " + rupees(order.price) + " or better" : "at the market"}${about}.${order.reduce_only ? "\nOnly to close." : ""}`, again);
}
