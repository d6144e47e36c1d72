// The frame of all pages: who is logged in, navigation, the stream's state, keys, and which page an address is.

import { html, render, useEffect, useState } from "/web/vendor/preact-htm.js";
import * as api from "/web/api.js";
import * as stream from "/web/stream.js";
import { go, useAddress, useStreamState } from "/web/hooks.js";
import { Dialog, State, Trouble } from "/web/widgets.js";
import { Fleet } from "/web/pages/fleet.js";

// The fleet is the first page that most people see; the others are loaded when they are asked for.
const PAGES = [
  [/^\/$/, () => Fleet],
  [/^\/device\/([^/]+)\/([^/]+)$/, async () => (await import("/web/pages/device.js")).Device],
  [/^\/agent\/([^/]+)\/([^/]+)$/, async () => (await import("/web/pages/agent.js")).Agent],
  [/^\/rollouts$/, async () => (await import("/web/pages/rollouts.js")).Rollouts],
  [/^\/rollouts\/([^/]+)$/, async () => (await import("/web/pages/rollout.js")).Rollout],
  [/^\/models$/, async () => (await import("/web/pages/models.js")).Models],
  [/^\/models\/([^/]+)$/, async () => (await import("/web/pages/models.js")).Model],
  [/^\/alerts$/, async () => (await import("/web/pages/alerts.js")).Alerts],
  [/^\/alerts\/([^/]+)$/, async () => (await import("/web/pages/alerts.js")).Alert],
  [/^\/learning$/, async () => (await import("/web/pages/learning.js")).Learning],
  [/^\/learning\/([^/]+)\/([^/]+)\/([^/]+)$/, async () => (await import("/web/pages/learning.js")).Learned],
  [/^\/enrol$/, async () => (await import("/web/pages/enrol.js")).Enrol],
  [/^\/audit$/, async () => (await import("/web/pages/audit.js")).Audit],
  [/^\/users$/, async () => (await import("/web/pages/users.js")).Users],
  [/^\/tokens$/, async () => (await import("/web/pages/tokens.js")).Tokens],
];
const NAVIGATION = [
  ["/", "Fleet", "viewer"],
  ["/rollouts", "Rollouts", "viewer"],
  ["/models", "Models", "viewer"],
  ["/alerts", "Alerts", "viewer"],
  ["/learning", "Learning", "viewer"],
  ["/enrol", "Enrol", "operator"],
  ["/audit", "Audit", "operator"],
  ["/users", "Users", "admin"],
  ["/tokens", "Tokens", "viewer"],
];
const KEYS = [
  ["/", "search"],
  ["?", "this help"],
  ["↑ ↓", "previous and next device of the list"],
  ["Enter", "open the device"],
  ["Esc", "close this help, leave the search"],
];

function Page({ address }) {
  const [shown, setShown] = useState({ component: null, parts: [], problem: null });
  useEffect(() => {
    let current = true;
    const found = PAGES.map(([pattern, load]) => [address.path.match(pattern), load]).find(([match]) => match);
    if (!found || malformed(address.path)) {
      setShown({ component: null, parts: [], problem: new Error(`${address.path}: there is no such page`) });
      return undefined;
    }
    const parts = found[0].slice(1).map(decodeURIComponent);
    Promise.resolve(found[1]()).then(
      (component) => current && setShown({ component, parts, problem: null, path: address.path }),
      () => current && setShown({ component: null, parts, problem: new Error("The hub does not answer.") }),
    );
    return () => {
      current = false;
    };
  }, [address.path]);
  if (shown.problem) return html`<${Trouble} problem=${shown.problem} />`;
  if (!shown.component || shown.path !== address.path) return null;
  return html`<${shown.component} key=${address.path} parts=${shown.parts} query=${address.query} />`;
}

function malformed(path) {
  try {
    decodeURIComponent(path);
    return false;
  } catch {
    return true;
  }
}

function App() {
  const [session, setSession] = useState(undefined);
  const [help, setHelp] = useState(false);
  const [problem, setProblem] = useState(null);
  const address = useAddress();
  const live = useStreamState();

  useEffect(() => {
    api.watchSession((found) => {
      setSession(found);
      if (found) stream.open();
      else stream.close();
    });
    api.get("/session").then(api.setSession, (found) => {
      if (found.status === 401) setSession(null);
      else setProblem(found);
    });
  }, []);
  useEffect(() => {
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (event.key === "Escape" && typing) event.target.blur();
      if (typing) return;
      const search = document.querySelector("input[type=search]");
      if (event.key === "/" && search) {
        event.preventDefault();
        search.focus();
      }
      if (event.key === "?") setHelp(true);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);

  if (problem) return html`<main><${Trouble} problem=${problem} /></main>`;
  if (session === undefined) return null;
  if (session === null) return html`<${Entrance} address=${address} />`;
  const logOut = async () => {
    await api.remove("/session").catch(() => {});
    api.setSession(null);
    go("/login");
  };
  const items = NAVIGATION.filter(([, , role]) => api.may(role));
  const current = (at) => (address.path === at || (at !== "/" && address.path.startsWith(`${at}/`)) ? "page" : null);
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <nav aria-label="Pages">
      <strong>edge-hub</strong>
      ${items.map(([at, name]) => html`<a key=${at} href=${at} aria-current=${current(at)}>${name}</a>`)}
      <span class="right">
        <span role="status" class="stream"><${State} name=${live} detail="events of the hub" /></span>
        <span class="who" title=${session.role}>${session.user}, ${session.role}</span>
        <button onClick=${logOut}>Log out</button>
        <button aria-label="Help: keys" onClick=${() => setHelp(true)}>?</button>
      </span>
    </nav>
    ${live === "lost" && html`<p class="lost" role="alert">The connection to the hub is lost. What is shown may be old; trying again.</p>`}
    <main id="main"><${Page} address=${address} /></main>
    ${help &&
    html`<${Dialog} title="Keys" close=${() => setHelp(false)}>
      <dl class="facts">${KEYS.map(([key, what]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
    <//>`}
  `;
}

function Entrance({ address }) {
  const [pages, setPages] = useState(null);
  useEffect(() => {
    import("/web/pages/entrance.js").then(setPages);
  }, []);
  if (!pages) return null;
  return address.path === "/setup" ? html`<${pages.Setup} />` : html`<${pages.Login} />`;
}

// Links within these pages do not load the frame again.
addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.origin !== location.origin || link.target || link.hash || link.hasAttribute("download")) return;
  if (/^\/(api|schema|web|metrics)(\/|$)/.test(link.pathname)) return;
  event.preventDefault();
  go(link.pathname + link.search);
});

render(html`<${App} />`, document.getElementById("app"));
