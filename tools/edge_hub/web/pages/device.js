// One device: what it is, what it runs, its measurements over time, its gaps, labels and commands.

import { html, useState } from "/web/vendor/preact-htm.js";
import { may, put, remove } from "/web/api.js";
import { Ask } from "/web/command.js";
import * as format from "/web/format.js";
import { go, useLoaded, useNow } from "/web/hooks.js";
import { Plot } from "/web/plot.js";
import { Configuration } from "/web/pages/configuration.js";
import { DeviceLog } from "/web/pages/device_log.js";
import { Drift } from "/web/pages/drift.js";
import { RANGES, begin } from "/web/ranges.js";
import { Program, isPackage } from "/web/pages/program.js";
import { stateOf } from "/web/pages/fleet.js";
import { Action, Empty, Facts, Field, Form, Heading, Json, LiveTime, State, Table, Trouble } from "/web/widgets.js";

const POINTS = 600;

export function Device({ parts: [fleet, name], query }) {
  const mine = (rows) => rows.some((row) => row.fleet === fleet && row.name === name);
  const path = `/devices${format.path(fleet, name)}`;
  const [id, setId] = useState(null);
  const told = (rows) => mine(rows) || rows.some((row) => row.id === id);
  const { data: device, problem, reload } = useLoaded(path, ["registry", "devices"], told);
  if (device && device.id !== id) setId(device.id);
  if (!device) return html`<${Heading} title=${name} /><${Trouble} problem=${problem} />`;
  const forget = async () => {
    await remove(path);
    go("/");
  };
  return html`
    <${Heading} title=${device.name}>
      ${may("operator") && html`<${Action} label="Take off the list" confirm="The device returns when it is heard again." action=${forget} />`}
    <//>
    <${Trouble} problem=${problem} />
    <${About} device=${device} />
    <section><h2>Health</h2><${Health} health=${device.health} /></section>
    <section><h2>Populations</h2><${Populations} device=${device} /></section>
    <section><h2>Program</h2><${Program} device=${device} /></section>
    <section><h2>Over time</h2><${Series} path=${path} device=${device} query=${query} /></section>
    <section><h2>Hub and device</h2><${Reported} device=${device} /></section>
    <section><h2>Configuration</h2><${Configuration} key=${JSON.stringify(device.reported.configuration)} device=${device} /></section>
    ${may("operator") && html`<section><h2>Ask the device</h2><${Commands} device=${device} /></section>`}
    ${may("operator") && html`<section><h2>Log</h2><${DeviceLog} device=${device} /></section>`}
    ${may("operator") && html`<section><h2>Labels</h2><${Labels} path=${path} device=${device} saved=${reload} /></section>`}
  `;
}

function About({ device }) {
  const time = useNow();
  const labels = Object.entries(device.labels).map(([key, value]) => `${key}=${value}`);
  return html`<${Facts}
    facts=${[
      ["State", html`<${State} name=${stateOf(device, time)} />`],
      ["Heard", html`<${LiveTime} t=${device.heard} />`],
      ["Fleet", html`<a href=${`/${format.query({ filter: `fleet=${device.fleet}` })}`}>${device.fleet}</a>`],
      ["Board", device.profile],
      ["Version", device.version],
      ["Memory", format.bytes(device.rss)],
      ["Agents", format.whole(device.agents)],
      ["Decisions", format.whole(device.decisions)],
      ["Contradictions", format.whole(device.contradictions)],
      ["Missed deadlines", format.whole(device.missed)],
      ["Known since", format.absolute(device.known_since)],
      ["Labels", labels.join(" ")],
    ]}
  />`;
}

function Health({ health }) {
  if (!Object.keys(health).length) return html`<${Empty}>The device has not told its health.<//>`;
  const flag = (value, no, yes) => (value === undefined ? "" : value ? yes : no);
  return html`<${Facts}
    facts=${[
      ["Governor", health.rung ? `level ${health.rung}, because of ${health.cause}` : flag(health.rung === 0 || undefined, "", "full")],
      ["Temperature", health.temperature_c === undefined ? "" : `${format.number(health.temperature_c)} °C`],
      ["Throttled by the firmware", flag(health.throttled, "no", "yes")],
      ["Free disk", health.disk_free_mb === undefined ? "" : format.bytes(1e6 * health.disk_free_mb)],
      ["Clock", flag(health.clock_synchronised, "not synchronised", "synchronised")],
      ["Waiting in the outbox", health.outbox_bytes === undefined ? "" : format.bytes(health.outbox_bytes)],
      ["Memory budget used", health.memory_share === undefined ? "" : format.percent(health.memory_share)],
      ["Starts", health.starts === undefined ? "" : `${format.whole(health.starts)}, the run before ${ENDS[health.restart_reason] || health.restart_reason}`],
    ]}
  />`;
}

const ENDS = {
  first: "was none",
  stopped: "ended in good order",
  failed: "ended with an exception",
  killed: "was killed",
  power: "ended with the board",
};

function Populations({ device }) {
  const running = device.populations.filter((row) => !isPackage(row));
  if (!running.length) return html`<${Empty}>The device runs no population.<//>`;
  const counter = (key) => (row) => format.whole(row.counters[key]);
  const columns = [
    ["Population", (row) => row.name],
    ["Bundle", (row) => html`<a href=${`/models${format.path(row.bundle)}`}><code>${format.short(row.bundle)}</code></a>`],
    ["Agents", (row) => format.whole(row.size), "figure"],
    ["Decisions", counter("decisions"), "figure"],
    ["Contradictions", counter("contradictions"), "figure"],
    ["Missed", counter("missed"), "figure"],
    ["Look into", (row) => html`<a href=${agentLink(device, row.name)}>Decisions of an agent<span class="hidden"> of ${row.name}</span></a>`],
  ];
  return html`<${Table} caption="Populations" columns=${columns} rows=${running} id=${(row) => row.name} />`;
}

const agentLink = (device, population, agent = "") =>
  `/agent${format.path(device.fleet, device.name)}${format.query({ population, agent })}`;
const AGENTS_SHOWN = 50;
const LEVELS = new Set(["drift"]);

/** Counters are shown as their growth per second; what is a size or a time is shown as it is. */
function shownSeries(name, times, values) {
  if (name === "rss") return { label: "Memory", values, unit: format.bytes };
  const [owner, counter] = name.split("/");
  if (owner === "health" || LEVELS.has(counter)) return { label: name.replace("/", ": "), values, unit: format.number };
  if (/_(ms|us|s|bytes)$/.test(name)) return { label: name.replace("/", ": "), values, unit: format.number };
  const rates = values.map((value, n) => {
    if (n === 0 || value === null || values[n - 1] === null) return null;
    const grown = value - values[n - 1];
    return grown < 0 || times[n] <= times[n - 1] ? null : grown / (times[n] - times[n - 1]);
  });
  return { label: `${name.replace("/", ": ")} per second`, values: rates, unit: format.number };
}

function Series({ path, device, query }) {
  const range = query.range in RANGES ? query.range : "1 h";
  const [since, setSince] = useState(() => begin(range));
  const mine = (rows) => rows.some((row) => row.id === device.id);
  const { data, problem } = useLoaded(`${path}/series${format.query({ since, points: POINTS })}`, ["devices"], mine);
  const names = data ? Object.keys(data.values) : [];
  const chosen = names.includes(query.series) ? query.series : "rss";
  const show = (change) => go(`${location.pathname}${format.query({ ...query, ...change })}`, { replace: true });
  const choose = (value) => {
    setSince(begin(value));
    show({ range: value === "1 h" ? "" : value });
  };
  return html`
    <p class="actions">
      <label>Series${" "}
        <select value=${chosen} onChange=${(event) => show({ series: event.target.value })}>
          ${(names.length ? names : ["rss"]).map((name) => html`<option key=${name} value=${name}>${name === "rss" ? "memory" : name}</option>`)}
        </select>
      </label>
      <label>Time${" "}
        <select onChange=${(event) => choose(event.target.value)}>
          ${Object.keys(RANGES).map((name) => html`<option key=${name} value=${name} selected=${name === range}>${name}</option>`)}
        </select>
      </label>
    </p>
    <${Trouble} problem=${problem} />
    ${data && !data.t.length && html`<${Empty}>No telemetry in this time. Choose a longer one.<//>`}
    ${data && data.t.length > 0 && names.includes(chosen) &&
    html`<${Plot} key=${chosen} times=${data.t} ...${shownSeries(chosen, data.t, data.values[chosen])} />`}
    ${data && data.agents.length > 0 && html`<p>Agents with series:${" "}
      ${data.agents.slice(0, AGENTS_SHOWN).map((row) => html`<a key=${`${row.population}/${row.agent}`} href=${agentLink(device, row.population, row.agent)}>${row.agent}</a>${" "}`)}
      ${data.agents.length > AGENTS_SHOWN && `and ${format.whole(data.agents.length - AGENTS_SHOWN)} more`}
    </p>`}
  `;
}

function Reported({ device }) {
  const reported = device.reported;
  const columns = [
    ["Population", (row) => row[0]],
    ["Bundle", (row) => html`<code>${format.short(row[1].bundle)}</code>`],
    ["Stage", (row) => html`<${State} name=${String(row[1].stage)} />`],
    ["Reason", (row) => row[1].reason],
  ];
  const stages = Object.entries(reported.rollouts || {}).filter(([name]) => !isPackage({ name }));
  const gaps = device.gaps.reduce((sum, outbox) => sum + outbox.gaps, 0);
  const thinned = device.gaps.reduce((sum, outbox) => sum + outbox.thinned, 0);
  return html`
    <${Facts}
      facts=${[
        ["Document in force", reported.version],
        ["Version of the keys", reported.trust],
        ["Telemetry missing", gaps ? `${format.whole(gaps)} messages` : "none"],
        ["Thinned out on the device", thinned ? `${format.whole(thinned)} messages` : ""],
        ["Last refused", reported.refused ? `document ${reported.refused.version}: ${reported.refused.reason}` : ""],
      ]}
    />
    ${stages.length > 0 && html`<${Table} caption="Rollouts on this device" columns=${columns} rows=${stages} id=${(row) => row[0]} />`}
    <${Json} label="Birth message" value=${device.birth} />
    <${Json} label="Reported state" value=${reported} />
  `;
}

function Commands({ device }) {
  const target = { fleet: device.fleet, filter: `name=${device.name}` };
  return html`
    <${Ask} label="Status" command=${{ ...target, name: "status" }} shown=${Status} />
    <${Ask} label="Reload the configuration" command=${{ ...target, name: "reload" }}
      confirm="The device reads its configuration again." />
    <${Ask} label="Reset all agents" command=${{ ...target, name: "reset" }}
      confirm="All agents of this device forget what they believe." />
  `;
}

/** The answer to the command status. */
function Status({ result }) {
  const governor = result.governor || {};
  const rows = Object.entries(result.populations || {});
  const columns = [
    ["Population", (row) => row[0]],
    ["State", (row) => html`<${State} name=${row[1].suspended ? "paused" : "running"} detail=${(row[1].reasons || []).join(", ")} />`],
    ["Latency p50, p99", (row) => `${format.number(row[1].latency_p50_ms)}, ${format.number(row[1].latency_p99_ms)} ms`, "figure"],
    ["Jitter p99", (row) => `${format.number(row[1].jitter_p99_ms)} ms`, "figure"],
    ["Memory per agent", (row) => format.bytes(row[1].bytes_per_agent), "figure"],
    ["History", (row) => `${format.whole(row[1].history_records)} records`, "figure"],
  ];
  return html`
    <${Facts}
      facts=${[
        ["Rung", governor.name],
        ["Cause", governor.cause],
        ["Up for", format.span(result.uptime_s || 0)],
        ["Memory", `${format.bytes(result.rss_bytes)} of ${format.bytes(result.budget_bytes)}`],
        ["Arena", `${format.bytes(result.arena_used_bytes)} of ${format.bytes(result.arena_bytes)}`],
        ["Broker", result.broker?.state],
      ]}
    />
    <${Table} caption="Populations at the moment" columns=${columns} rows=${rows} id=${(row) => row[0]} />
    ${rows.filter((row) => row[1].drift).map((row) => html`<${Drift} key=${row[0]} population=${row[0]} drift=${row[1].drift} />`)}
    <${Json} label="All of the answer" value=${result} />
  `;
}

function Labels({ path, device, saved }) {
  const text = Object.entries(device.labels).map(([key, value]) => `${key}=${value}`).join(" ");
  const submit = async ({ labels }) => {
    const found = {};
    for (const word of labels.split(/\s+/).filter(Boolean)) {
      const at = word.indexOf("=");
      if (at < 1) throw new Error(`labels: found ${word}, expected KEY=VALUE`);
      found[word.slice(0, at)] = word.slice(at + 1);
    }
    await put(`${path}/labels`, { labels: found });
    saved();
  };
  return html`<${Form} label="Set the labels" submit=${submit} kind="line">
    <${Field} label="Labels, as site=east floor=2" name="labels" defaultValue=${text} maxlength="5000" />
  <//>`;
}
