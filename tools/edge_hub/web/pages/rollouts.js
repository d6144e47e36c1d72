// Rollouts: what runs, what waits, what was; and a new one.

import { html, useState } from "/web/vendor/preact-htm.js";
import { get, may, postOnce } from "/web/api.js";
import * as format from "/web/format.js";
import { go, useLoaded } from "/web/hooks.js";
import { CONFIGURATION } from "/web/pages/configuration.js";
import { PACKAGE } from "/web/pages/program.js";
import { Empty, Field, Form, Heading, LiveTime, State, Table, Trouble } from "/web/widgets.js";

const PAGE = 50;
const COMMITTED = "committed";

// As docs/protocol.md has the gates; what is left empty is the device's default.
const GATES = [
  ["shadow_seconds", "Shadow run", "s"],
  ["trial_seconds", "Trial", "s"],
  ["steps", "Agent-steps at least", ""],
  ["agreement", "Equal actions in the shadow run at least", "share"],
  ["missed_rate", "Missed deadlines at most", "per tick"],
  ["contradiction_rate", "Contradictions at most", "per agent-step"],
  ["free_energy_rise", "Rise of free energy at most", "nat per step"],
  ["held_rise", "Rise of agents at safe values at most", "share"],
  ["memory", "Memory at most", "bytes"],
];

export const gateNames = new Map(GATES.map(([key, name, unit]) => [key, unit ? `${name} (${unit})` : name]));

const COLUMNS = [
  ["Rollout", (row) => html`<a href=${`/rollouts${format.path(row.id)}`}>${row.id}</a>`],
  ["State", (row) => html`<${State} name=${row.status} detail=${row.reason} />`],
  ["Fleet", (row) => row.fleet],
  ["Population", (row) => (row.population === CONFIGURATION ? "configuration" : row.population)],
  ["Bundle", (row) => row.population !== CONFIGURATION && html`<a href=${`/models${format.path(row.bundle)}`}><code>${format.short(row.bundle)}</code></a>`],
  ["Wave", (row) => `${row.wave} of ${row.waves}`, "figure"],
  ["Committed", (row) => `${format.whole(row.counts[COMMITTED] || 0)} of ${format.whole(row.devices)}`, "figure"],
  ["Made", (row) => html`<${LiveTime} t=${row.created} /> by ${row.created_by}`],
  ["Reason", (row) => row.reason],
];

export function Rollouts({ query }) {
  const { data, problem } = useLoaded(`/rollouts${format.query({ limit: PAGE })}`, ["rollout"]);
  const [older, setOlder] = useState([]);
  const rows = data ? [...data, ...older] : [];
  const more = async () => {
    const found = await get(`/rollouts${format.query({ limit: PAGE, before: rows[rows.length - 1].created })}`);
    setOlder([...older, ...found]);
  };
  const making = may("operator") && (query.new || query.bundle);
  return html`
    <${Heading} title="Rollouts">
      ${may("operator") && !making && html`<a class="button" href="/rollouts?new=1">New rollout</a>`}
    <//>
    <${Trouble} problem=${problem} />
    ${making && html`<${NewRollout} query=${query} />`}
    ${data && !rows.length && html`<${Empty}>There was no rollout yet. Upload a bundle under <a href="/models">Models</a>, or run
      <code>edge-hub deploy --hub URL</code>.<//>`}
    ${rows.length > 0 && html`<${Table} caption="Rollouts" columns=${COLUMNS} rows=${rows} id=${(row) => row.id} />`}
    ${rows.length >= PAGE && html`<button onClick=${more}>Older rollouts</button>`}
  `;
}

function NewRollout({ query }) {
  const { data: bundles } = useLoaded("/bundles?limit=500", ["bundle"]);
  const { data: fleets } = useLoaded("/fleets", ["registry"]);
  const { data: running } = useLoaded("/populations", ["registry"]);
  const { data: groups } = useLoaded("/groups");
  const submit = async (values) => {
    const gates = {};
    for (const [key] of GATES) if (values[key] !== "") gates[key] = Number(values[key]);
    const plan = {
      fleet: values.fleet,
      bundle: values.bundle,
      population: values.population,
      filter: values.filter,
      group: values.group,
      canary: values.canary,
      max_failures: Number(values.max_failures),
      patience_s: Number(values.patience_s),
      gates,
    };
    const made = await postOnce("/rollouts", plan);
    go(`/rollouts${format.path(made.id)}`);
  };
  if (!bundles || !fleets || !running || !groups) return null;
  if (!bundles.length) return html`<${Empty}>There is no bundle yet: <a href="/models">upload one</a>.<//>`;
  const populations = [...new Set([...running.map((row) => row.population), PACKAGE])];
  const packages = bundles.filter((row) => row.kind === "package");
  const chosen = query.bundle || (query.package && packages.length ? packages[0].digest : "");
  const updates = packages.some((row) => row.digest === chosen);
  const population = updates ? PACKAGE : populations.find((name) => name !== PACKAGE) || "";
  return html`<section class="card">
    <h2>New rollout</h2>
    <p>It is planned now and sent to no device before it is approved.</p>
    <${Form} label="Plan the rollout" submit=${submit} kind="columns">
      <${Field} label="Bundle">
        <select name="bundle">
          ${bundles.map((row) => html`<option key=${row.digest} value=${row.digest} selected=${row.digest === chosen}>${row.name} ${row.version}, ${format.short(row.digest)}</option>`)}
        </select>
      <//>
      <${Field} label="Fleet">
        <select name="fleet">${fleets.map((row) => html`<option key=${row.fleet} value=${row.fleet} selected=${row.fleet === query.fleet}>${row.fleet}</option>`)}</select>
      <//>
      <${Field} label="Population" name="population" required maxlength="64" list="populations" defaultValue=${population} />
      <datalist id="populations">${populations.map((name) => html`<option key=${name} value=${name}></option>`)}</datalist>
      <${Field} label="Devices: filter" name="filter" defaultValue=${query.filter || ""} maxlength="1000" hint="empty: all of the fleet" />
      <${Field} label="Devices: group">
        <select name="group"><option value="">none</option>${groups.map((row) => html`<option key=${row.name} value=${row.name}>${row.name}</option>`)}</select>
      <//>
      <${Field} label="Waves" name="canary" defaultValue="5%,25%,100%" required hint="shares of the devices, the last one 100%" />
      <${Field} label="Failures that are accepted" name="max_failures" type="number" min="0" max="100000" defaultValue="0" required />
      <${Field} label="Time for a device (s)" name="patience_s" type="number" min="1" max="2592000" defaultValue="3600" required />
      ${GATES.map(([key]) => html`<${Field} key=${key} label=${gateNames.get(key)} name=${key} type="number" min="0" step="any" />`)}
    <//>
  </section>`;
}
