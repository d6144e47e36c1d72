// Events of the hub (Server-Sent Events), and whether they arrive.
//
// Theory of operation. One stream serves all parts of a page. After each connect every part loads its data again
// ("resync"): what changed while there was no stream is not known otherwise. The hub sends the same event when a
// page fell too far behind. A browser connects again by itself after a cut; where the hub answers with an error,
// we try again after RETRY_MS.

const KINDS = ["devices", "registry", "rollout", "replies", "bundle", "resync"];
const RETRY_MS = 2000;
const listeners = new Set();
const watchers = new Set();
let source = null;
let timer = 0;
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
    if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
  };
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => tell(kind, JSON.parse(event.data)));
  }
}

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
