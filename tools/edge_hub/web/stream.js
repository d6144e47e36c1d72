// Events of the hub (Server-Sent Events), and whether they arrive.
//
// Theory of operation. One stream serves all parts of a page. After each connect every part loads its data again
// ("resync"): what changed while there was no stream is not known otherwise. The hub sends the same event when a
// page fell too far behind. A browser connects again by itself after a cut; where the hub answers with an error,
// we try again after RETRY_MS. A browser has few connections to one host (six by HTTP/1.1), so a tab that was not
// seen for HIDDEN_MS gives its own back until it is seen again.

import { get } from "/web/api.js";

const KINDS = ["devices", "registry", "rollout", "replies", "bundle", "alert", "resync"];
const RETRY_MS = 2000;
const HIDDEN_MS = 30_000;
const listeners = new Set();
const watchers = new Set();
let source = null;
let timer = 0;
let hidden = 0;
let state = "connecting";

/** Call `listener(kind, data)` at each event of `kinds`; return how to stop. */
export function listen(kinds, listener) {
  const entry = { kinds, listener };
  listeners.add(entry);
  return () => listeners.delete(entry);
}

/** Call `watcher(state)` when the stream's state changes: connecting, live or lost; return how to stop. */
export function watch(watcher) {
  watchers.add(watcher);
  watcher(state);
  return () => watchers.delete(watcher);
}

export function open() {
  close();
  source = new EventSource("/api/v1/events");
  source.onopen = () => {
    become("live");
    tell("resync", {});
  };
  source.onerror = () => {
    become("lost");
    if (source.readyState === EventSource.CLOSED) timer = setTimeout(retry, RETRY_MS);
  };
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => tell(kind, JSON.parse(event.data)));
  }
}

/** Connect again, unless the session is over: then the answer closes the stream. */
async function retry() {
  await get("/session").catch(() => {});
  if (source !== null) open();
}

function seen() {
  clearTimeout(hidden);
  if (document.visibilityState === "hidden") hidden = setTimeout(() => source?.close(), HIDDEN_MS);
  else if (source !== null && source.readyState === EventSource.CLOSED) open();
}

document.addEventListener("visibilitychange", seen);

export function close() {
  clearTimeout(timer);
  if (source !== null) source.close();
  source = null;
}

function tell(kind, data) {
  for (const entry of [...listeners]) if (entry.kinds.includes(kind)) entry.listener(kind, data);
}

function become(next) {
  if (next === state) return;
  state = next;
  for (const watcher of [...watchers]) watcher(state);
}
