/* What the page asks hrmd, and how it hears of what happens. The session is a cookie that no script reads. */
"use strict";
const PATIENCE_MS = 3000, COMMAND_MS = 10000;

class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

/* Why there is no answer, without the browser's own words for it. */
const notAnswered = (error) => (error instanceof Refused ? error.message : error.name === "TimeoutError" ? "no answer in time" : "no answer");

async function ask(path, body, patience = body === undefined ? PATIENCE_MS : COMMAND_MS) {
  const asked = { signal: AbortSignal.timeout(patience), credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) Object.assign(asked, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const answer = await fetch(path, asked);
  const apart = Date.parse(answer.headers.get("Date")) - Date.now(); // in whole seconds
  ahead = Math.abs(apart) > 2000 ? apart : 0;
  const said = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, said.detail || answer.statusText);
  return said;
}

/* A link's code for the cookie, where the address has one. The code is taken out of the address before anything else. */
async function arrive() {
  const found = /^#code=([A-Za-z0-9_-]+)$/.exec(location.hash);
  if (!found) return false;
  history.replaceState(null, "", location.pathname);
  await ask("/api/auth/code", { code: found[1] });
  return true;
}

/* Frames, until the page is closed: a socket that ends is opened again, after longer and longer pauses. */
function listen(hear, ended) {
  let pause = 500;
  const open = () => {
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/stream");
    socket.onmessage = (message) => { pause = 500; hear(JSON.parse(message.data)); };
    socket.onclose = (end) => {
      if (ended(end.code)) return;
      setTimeout(open, pause);
      pause = Math.min(pause * 2, 10000);
    };
  };
  open();
}
