// What components share: the address, data that is loaded again at events, and the time.

import { useCallback, useEffect, useRef, useState } from "/web/vendor/preact-htm.js";
import { get, now as hubTime } from "/web/api.js";
import { listen, watch } from "/web/stream.js";

const AGAIN_MS = 500;

/** Show another address of these pages. */
export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** Return path and query (an object) of the address. */
export function useAddress() {
  const read = () => ({ path: location.pathname, query: Object.fromEntries(new URLSearchParams(location.search)) });
  const [address, setAddress] = useState(read);
  useEffect(() => {
    const changed = () => setAddress(read());
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  return address;
}

/** Return a function that runs `action` at most once per `ms`, the last time after the last call. */
export function throttle(action, ms) {
  let timer = 0;
  let last = -Infinity;
  const run = () => {
    timer = 0;
    last = performance.now();
    action();
  };
  const wrapped = () => {
    if (timer === 0) timer = setTimeout(run, Math.max(0, last + ms - performance.now()));
  };
  wrapped.stop = () => clearTimeout(timer);
  return wrapped;
}

/**
 * Return what a GET of `path` answers ("" asks nothing), loaded again at events of `kinds` and after a cut.
 * `fits(data)` says which events count.
 */
export function useLoaded(path, kinds = [], fits = () => true) {
  const [state, setState] = useState({ data: null, problem: null });
  const turn = useRef(0);
  const counts = useRef(fits);
  counts.current = fits; // of this rendering: it may know more than the first one
  const reload = useCallback(async () => {
    const mine = ++turn.current;
    if (!path) return;
    try {
      const data = await get(path);
      if (mine === turn.current) setState({ data, problem: null });
    } catch (problem) {
      if (mine === turn.current) setState((old) => ({ ...old, problem }));
    }
  }, [path]);
  useEffect(() => {
    const again = throttle(reload, AGAIN_MS);
    reload();
    const stop = listen(["resync", ...kinds], (kind, data) => (kind === "resync" || counts.current(data)) && again());
    return () => {
      turn.current++;
      again.stop();
      stop();
    };
  }, [path]);
  return { ...state, reload };
}

/** Return the time in Unix seconds, anew every `seconds`. */
export function useNow(seconds = 5) {
  const [now, setNow] = useState(hubTime);
  useEffect(() => {
    const timer = setInterval(() => setNow(hubTime()), 1000 * seconds);
    return () => clearInterval(timer);
  }, [seconds]);
  return now;
}

/** Return the stream's state: connecting, live or lost. */
export function useStreamState() {
  const [state, setState] = useState("connecting");
  useEffect(() => watch(setState), []);
  return state;
}

/** Return [run, busy, problem]: `run` performs an action once at a time and keeps the problem that it met. */
export function useAction(action) {
  const [state, setState] = useState({ busy: false, problem: null });
  const run = async (...values) => {
    setState({ busy: true, problem: null });
    try {
      const found = await action(...values);
      setState({ busy: false, problem: null });
      return found;
    } catch (problem) {
      setState({ busy: false, problem });
      return undefined;
    }
  };
  return [run, state.busy, state.problem];
}
