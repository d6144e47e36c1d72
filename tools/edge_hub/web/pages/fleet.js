// All devices: filtered, sorted, live.
//
// Theory of operation. Rows come in pages by key (PAGE rows each, the next one after the last row of the one
// before) and are kept; the list is as high as all rows together, and only those in sight are in the document.
// Scrolling to a place loads the pages up to it. Events change rows in place, so that nothing jumps; a device
// that is new or gone is shown at once in a list of up to one page, and offered by a button in a longer one.

import { html, useEffect, useRef, useState } from "/web/vendor/preact-htm.js";
import { get, may, put } from "/web/api.js";
import * as format from "/web/format.js";
import { go, throttle, useLoaded, useNow } from "/web/hooks.js";
import { listen } from "/web/stream.js";
import { Action, Empty, Heading, State, Time, Trouble } from "/web/widgets.js";

const PAGE = 500;
const SPARE_ROWS = 10;
const SILENT_S = 120;
const TYPING_MS = 200;
const CHANGED_MS = 1000;
const COUNTERS_MS = 5000;
const PHONE = matchMedia("(max-width: 700px)");
const SORTED = { name: "Device", heard: "Heard", rss: "Memory" };

export const deviceLink = (row) => `/device${format.path(row.fleet, row.name)}`;

/** A device's state in a word: offline, or silent where it has sent no telemetry for SILENT_S. */
export function stateOf(row, now) {
  if (!row.online) return "offline";
  return now - (row.heard || row.known_since) > SILENT_S ? "silent" : "online";
}

const COLUMNS = [
  ["Device", (row) => html`<a href=${deviceLink(row)}>${row.name}</a> <small>${row.fleet}</small>`],
  ["State", (row, now) => html`<${State} name=${stateOf(row, now)} />`],
  ["Heard", (row, now) => html`<${Time} t=${row.heard} now=${now} />`],
  ["Memory", (row) => format.bytes(row.rss), "figure"],
  ["Agents", (row) => format.whole(row.agents), "figure"],
  ["Decisions", (row) => format.whole(row.decisions), "figure"],
  ["Contradictions", (row) => format.whole(row.contradictions), "figure"],
  ["Missed", (row) => format.whole(row.missed), "figure"],
  ["Version", (row) => row.version],
  ["Board", (row) => row.profile],
  ["Runs", (row) => row.populations.join(", ")],
  ["Labels", (row) => Object.entries(row.labels).map(([key, value]) => `${key}=${value}`).join(" ")],
];

/** The loaded part of the list; `changed` is called when it is to be drawn again. */
class Rows {
  constructor(changed) {
    this.rows = [];
    this.problem = null;
    this.stale = false;
    this.updates = 0;
    this._changed = changed;
    this._byId = new Map();
    this._after = "";
    this._ended = false;
    this._turn = 0;
    this._wanted = 0;
    this._busy = false;
    this._choice = {};
  }

  /** Begin anew with another filter or order; the old rows stay until the new ones are here. */
  async choose(choice) {
    this._choice = choice;
    await this.reload(PAGE);
  }

  /** Load the first `count` rows again. */
  async reload(count = Math.max(PAGE, this.rows.length)) {
    const turn = ++this._turn;
    this._busy = true;
    const rows = [];
    let after = "";
    try {
      do {
        const found = await this._page(after, Math.min(1000, count - rows.length));
        if (turn !== this._turn) return;
        rows.push(...found.devices);
        after = found.after;
      } while (after && rows.length < count);
      this._take(rows, after);
      this.stale = false;
      this.problem = null;
    } catch (problem) {
      if (turn === this._turn) this.problem = problem;
    } finally {
      if (turn === this._turn) this._busy = false;
    }
    this._changed();
    this.want(this._wanted);
  }

  /** Load on until row `index` is here. */
  async want(index) {
    this._wanted = index;
    if (this._busy || this._ended || this.problem) return;
    const turn = this._turn;
    this._busy = true;
    try {
      while (!this._ended && this.rows.length <= this._wanted && turn === this._turn) {
        const ahead = this._wanted - this.rows.length > PAGE;
        const found = await this._page(this._after, ahead ? 1000 : PAGE);
        if (turn !== this._turn) return;
        this._add(found.devices, found.after);
        this._changed();
      }
    } catch (problem) {
      if (turn === this._turn) this.problem = problem;
      this._changed();
    } finally {
      if (turn === this._turn) this._busy = false;
    }
  }

  /** Take in what an event says of devices; return whether a device is new or gone. */
  update(changes) {
    let others = false;
    for (const change of changes) {
      const row = this._byId.get(change.id);
      if (row === undefined || change.forgotten) others = true;
      else Object.assign(row, change);
    }
    this.updates += changes.length;
    this._changed();
    return others;
  }

  /** Whether the list has one page at most, and may be loaded again at any time. */
  get short() {
    return this._ended && this.rows.length <= PAGE;
  }

  _page(after, limit) {
    return get(`/devices${format.query({ ...this._choice, after, limit })}`);
  }

  _take(rows, after) {
    this.rows = [];
    this._byId.clear();
    this._add(rows, after);
  }

  _add(rows, after) {
    this.rows = [...this.rows, ...rows];
    for (const row of rows) this._byId.set(row.id, row);
    this._after = after;
    this._ended = !after;
  }
}

export function Fleet({ query }) {
  const filter = query.filter || "";
  const sort = query.sort || "name";
  const descending = query.descending === "true";
  const [, draw] = useState(0);
  const [list] = useState(() => new Rows(() => requestAnimationFrame(() => draw((n) => n + 1))));
  const count = useLoaded(`/devices/count${format.query({ filter })}`, ["registry"]);
  const fleets = useLoaded("/fleets", ["registry"]);
  const groups = useLoaded("/groups");
  const total = count.data ? count.data.devices : list.rows.length;

  useEffect(() => {
    list.choose({ filter, sort, descending: descending ? "true" : "" });
  }, [filter, sort, descending]);
  useEffect(() => {
    const again = throttle(() => list.reload(), CHANGED_MS);
    const counters = throttle(() => list.short && list.reload(), COUNTERS_MS); // events have no counters
    const told = (kind, data) => {
      const others = kind === "resync" || list.update(data);
      if (kind === "devices") counters();
      if (kind === "resync" || (others && kind === "registry" && list.short)) again();
      else if (others && kind === "registry") list.stale = true;
    };
    const stop = listen(["devices", "registry", "resync"], told);
    return () => (again.stop(), counters.stop(), stop());
  }, []);

  const show = (change) => go(`/${format.query({ filter, sort: query.sort, descending: query.descending, ...change })}`, { replace: true });
  const order = (column) => show({ sort: column === "name" ? "" : column, descending: sort === column && !descending ? "true" : "" });
  return html`
    <${Heading} title="Fleet">
      ${fleets.data &&
      fleets.data.map((fleet) => html`<span class="figures" key=${fleet.fleet}>
        <a href=${`/${format.query({ filter: `fleet=${fleet.fleet}` })}`}>${fleet.fleet}</a>${" "}
        ${format.whole(fleet.online)} of ${format.whole(fleet.devices)} online, ${format.whole(fleet.agents)} agents
      </span>`)}
    <//>
    <${Search} filter=${filter} groups=${groups.data || []} show=${show} />
    <p class="status" role="status">
      ${count.data && `${format.whole(count.data.devices)} devices fit, ${format.whole(count.data.online)} online`}
      ${list.stale && html` <button onClick=${() => list.reload()}>The list has changed: load it again</button>`}
    </p>
    <${Trouble} problem=${list.problem} />
    ${total === 0 && list.rows.length === 0
      ? html`<${Empty}>${filter ? "No device fits this filter." : html`No device was heard yet. Start one with
          <code>edge-agent run</code> and the broker of this hub.`}<//>`
      : html`<${Grid} list=${list} total=${total} sort=${sort} descending=${descending} order=${order} />`}
    ${may("operator") && filter && html`<p class="actions">
      <a href=${`/rollouts${format.query({ filter, new: 1 })}`}>Roll out to these devices</a>
      <${SaveGroup} filter=${filter} saved=${groups.reload} />
    </p>`}
  `;
}

function Search({ filter, groups, show }) {
  const [text, setText] = useState(filter);
  const timer = useRef(0);
  useEffect(() => setText(filter), [filter]);
  const typed = (value) => {
    setText(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => show({ filter: value.trim() }), TYPING_MS);
  };
  return html`<form class="search" role="search" onSubmit=${(event) => event.preventDefault()}>
    <input type="search" aria-label="Filter" aria-describedby="filter-help" value=${text} maxlength="1000"
      placeholder="online profile=pi4* label.site=east silent>60" onInput=${(event) => typed(event.target.value)} />
    ${groups.length > 0 &&
    html`<select aria-label="Group" onChange=${(event) => typed(event.target.value)} value=${filter}>
      <option value="">all groups</option>
      ${groups.map((group) => html`<option key=${group.name} value=${group.filter}>${group.name}</option>`)}
    </select>`}
    <small id="filter-help">Terms that must all hold: online, !online, name=, fleet=, profile=, version=, population=,
      bundle=, label.KEY=, silent>SECONDS, or a part of the name; * fits any text.</small>
  </form>`;
}

function SaveGroup({ filter, saved }) {
  const [name, setName] = useState("");
  const save = async () => {
    await put(`/groups${format.path(name)}`, { filter });
    setName("");
    saved();
  };
  return html`<span>
    <input aria-label="Name of the group" placeholder="name of a group" value=${name} maxlength="64"
      onInput=${(event) => setName(event.target.value)} />
    <${Action} label="Save the filter as a group" action=${save} />
  </span>`;
}

function Grid({ list, total, sort, descending, order }) {
  const now = useNow();
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600, row: PHONE.matches ? 84 : 34 });
  useEffect(() => {
    const measure = () => {
      const { scrollTop, clientHeight } = box.current;
      setView({ top: scrollTop, height: clientHeight, row: PHONE.matches ? 84 : 34 });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    box.current.addEventListener("scroll", measure, { passive: true });
    return () => observer.disconnect();
  }, []);
  const height = Math.max(total, list.rows.length);
  const first = Math.max(0, Math.floor(view.top / view.row) - SPARE_ROWS);
  const last = Math.min(height, Math.ceil((view.top + view.height) / view.row) + SPARE_ROWS);
  useEffect(() => {
    list.want(last);
  }, [last, list.rows.length]);
  const moved = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const row = event.target.closest("[data-index]");
    const index = row ? Number(row.dataset.index) + step : first;
    const next = box.current.querySelector(`[data-index="${index}"] a`);
    if (!next) return;
    event.preventDefault();
    next.focus();
  };
  const aria = (key) => (sort === key ? (descending ? "descending" : "ascending") : null);
  const key = (name) => Object.keys(SORTED).find((column) => SORTED[column] === name);
  const shown = list.rows.slice(first, last);
  return html`<div class="grid" ref=${box} tabindex="0" role="table" aria-label="Devices" aria-rowcount=${height + 1}
    data-updates=${list.updates} onKeyDown=${moved}>
    <div class="row head" role="row" aria-rowindex="1">
      ${COLUMNS.map(([name, , kind]) => html`<span key=${name} role="columnheader" class=${kind || null} aria-sort=${key(name) ? aria(key(name)) : null}>
        ${key(name) ? html`<button onClick=${() => order(key(name))}>${name}${{ ascending: " ↑", descending: " ↓" }[aria(key(name))] || ""}</button>` : name}
      </span>`)}
    </div>
    <div class="rows" role="rowgroup" style=${{ height: `${height * view.row}px` }}>
      <div role="presentation" style=${{ transform: `translateY(${first * view.row}px)` }}>
        ${shown.map((row, n) => html`<div class="row" role="row" key=${row.id} data-index=${first + n} aria-rowindex=${first + n + 2}>
          ${COLUMNS.map(([name, cell, kind]) => html`<span key=${name} role="cell" class=${kind || null} data-name=${name}>${cell(row, now)}</span>`)}
        </div>`)}
      </div>
    </div>
  </div>`;
}
