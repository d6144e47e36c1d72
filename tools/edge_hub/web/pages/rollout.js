// One rollout as it goes: waves, gates, each device's state with the reason; approve, pause, stop.

import { html } from "/web/vendor/preact-htm.js";
import { may, post, postOnce } from "/web/api.js";
import * as format from "/web/format.js";
import { useLoaded } from "/web/hooks.js";
import { canSign, signedRelease } from "/web/sign.js";
import { CONFIGURATION, listed } from "/web/pages/configuration.js";
import { gateNames } from "/web/pages/rollouts.js";
import { Action, Facts, Field, Form, Heading, LiveTime, State, Table, Trouble } from "/web/widgets.js";

const ORDER = ["failed", "sent", "parked", "reverted", "committed", "waiting"];
const SHOWN = 500;

export function Rollout({ parts: [id] }) {
  const path = `/rollouts${format.path(id)}`;
  const { data: rollout, problem, reload } = useLoaded(path, ["rollout"], (row) => row.id === id);
  const { data: wanted, reload: lookAgain } = useLoaded("/releases/wanted", ["rollout"], (row) => row.id === id);
  if (!rollout || !wanted) return html`<${Heading} title="Rollout" /><${Trouble} problem=${problem} />`;
  const { state, status } = rollout;
  const waits = wanted.find((row) => row.rollout === id);
  const again = () => (reload(), lookAgain());
  const steer = (action) => async () => {
    await post(`${path}/${action}`);
    again();
  };
  const values = rollout.population === CONFIGURATION ? state.config : null;
  const running = status === "running" || status === "paused";
  return html`
    <${Heading} title=${`Rollout ${id}`}>
      ${may("operator") && html`
        ${status === "proposed" && !waits && html`<${Action} label="Approve" kind="primary" action=${steer("approve")}
          confirm=${`${format.whole(Object.keys(state.members).length)} devices get it, wave by wave.`} />`}
        ${status === "proposed" && html`<${Action} label="Withdraw" action=${steer("abort")} confirm="It can't be approved any more." />`}
        ${status === "running" && html`<${Action} label="Pause" action=${steer("pause")} />`}
        ${status === "paused" && html`<${Action} label="Resume" action=${steer("resume")} />`}
        ${running && html`<${Action} label="Stop and go back" kind="danger" action=${steer("abort")}
          confirm="All devices go back to what they ran before." />`}
      `}
    <//>
    <${Trouble} problem=${problem} />
    <${Facts}
      facts=${[
        ["State", html`<${State} name=${status} />`],
        ["Reason", state.reason],
        ["Fleet", rollout.fleet],
        ["Population", values ? "" : rollout.population],
        ["Configuration", values ? listed(values).map(([key, value]) => html`<code key=${key}>${key} = ${String(value)}</code> `) : ""],
        ["Bundle", values ? "" : html`<a href=${`/models${format.path(rollout.bundle)}`}>${state.name} <code>${format.short(rollout.bundle)}</code></a>`],
        ["Group", rollout.group_name],
        ["Filter", rollout.filter],
        ["Made", html`<${LiveTime} t=${rollout.created} /> by ${rollout.created_by}`],
        ["Approved by", rollout.approved_by],
        ["Changed", html`<${LiveTime} t=${rollout.updated} />`],
        ["Failures accepted", String(state.max_failures)],
        ["Time for a device", format.span(state.patience)],
      ]}
    />
    ${waits && may("operator") && html`<${Release} wanted=${waits} rollout=${path} signed=${again} />`}
    ${waits && !may("operator") && html`<p class="note">It waits for a release of its bundle.</p>`}
    <section><h2>Waves</h2><${Waves} state=${state} /></section>
    <section><h2>Gates</h2><${Gates} gates=${state.gates} /></section>
    <section><h2>Devices</h2><${Devices} fleet=${rollout.fleet} state=${state} /></section>
  `;
}

function Waves({ state }) {
  const columns = [
    ["Wave", (row) => String(row.number), "figure"],
    ["Devices", (row) => format.whole(row.names.length), "figure"],
    ["Progress", (row) => html`<${Stack} counts=${row.counts} total=${row.names.length} />`, "wide"],
    ["States", (row) => ORDER.filter((name) => row.counts[name]).map((name) => `${format.whole(row.counts[name])} ${name}`).join(", ")],
  ];
  const rows = state.waves.map((names, n) => ({ number: n + 1, names, counts: counted(names, state.members) }));
  return html`<${Table} caption="Waves" columns=${columns} rows=${rows} id=${(row) => row.number} />`;
}

function counted(names, members) {
  const counts = {};
  for (const name of names) counts[members[name].state] = (counts[members[name].state] || 0) + 1;
  return counts;
}

/** Shares of states as one bar; the words stand beside it. */
function Stack({ counts, total }) {
  return html`<span class="stack" aria-hidden="true">
    ${ORDER.filter((name) => counts[name]).map((name) => html`<span key=${name} class=${name} style=${{ width: `${(100 * counts[name]) / total}%` }}></span>`)}
  </span>`;
}

function Gates({ gates }) {
  const rows = [...gateNames].map(([key, name]) => ({ key, name, limit: gates[key] }));
  const columns = [
    ["Gate", (row) => row.name],
    ["Limit", (row) => (row.limit === undefined ? "the device's default" : format.number(row.limit)), "figure"],
  ];
  return html`<${Table} caption="Gates" columns=${columns} rows=${rows} id=${(row) => row.key} />`;
}

function Devices({ fleet, state }) {
  const columns = [
    ["Device", (row) => html`<a href=${`/device${format.path(fleet, row.name)}`}>${row.name}</a>`],
    ["State", (row) => html`<${State} name=${row.state} />`],
    ["Stage", (row) => row.stage],
    ["Wave", (row) => String(row.wave), "figure"],
    ["Since", (row) => (row.since ? html`<${LiveTime} t=${row.since} />` : "–")],
    ["Ran before", (row) => html`<code>${state.population === CONFIGURATION ? row.previous : format.short(row.previous)}</code>`],
    ["Reason", (row) => row.reason],
  ];
  const waves = new Map(state.waves.flatMap((names, n) => names.map((name) => [name, n + 1])));
  const rows = Object.entries(state.members).map(([name, member]) => ({ ...member, name, wave: waves.get(name) }));
  rows.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || a.wave - b.wave || (a.name < b.name ? -1 : 1));
  return html`
    <${Table} caption="Devices" columns=${columns} rows=${rows.slice(0, SHOWN)} id=${(row) => row.name} />
    ${rows.length > SHOWN && html`<p>${format.whole(rows.length - SHOWN)} more devices; those that failed are shown first.</p>`}
  `;
}

/** What is to be signed, and the key that signs it here. */
function Release({ wanted, rollout, signed }) {
  const configured = Object.keys(wanted.config).length > 0;
  const submit = async (_, form) => {
    const files = [...form.elements.key.files];
    form.reset();
    const now = Date.now();
    const release = { fleet: wanted.fleet, population: wanted.population, bundle: wanted.bundle, number: now, issued: now / 1000 };
    await post("/releases", await signedRelease(release, files));
    await postOnce(`${rollout}/approve`);
    signed();
  };
  return html`<section class="card">
    <h2>Waits for a release</h2>
    <p>Devices of this fleet run only what a release key has signed. What is signed:</p>
    <${Facts}
      facts=${[
        ["Fleet", wanted.fleet],
        ["Population", wanted.population],
        ["Bundle", html`<code class="digest">${wanted.bundle}</code>`],
      ]}
    />
    ${configured
      ? html`<p>This rollout makes a new population. Release its configuration where the file is:
          <code>edge-hub sign BUNDLE --new TOML --sign KEY --hub URL</code></p>`
      : !canSign()
        ? html`<p>This browser can't sign here: open the page by HTTPS, or run <code>edge-hub sign</code>.</p>`
        : html`<p>Compare the bundle with <code>edge-convert inspect</code> of your own file. The key is read by this page, signs,
            and is forgotten; it is not sent.</p>
          <${Form} label="Sign and approve" submit=${submit} kind="line">
            <${Field} label="Secret release key files" name="key" type="file" multiple required />
          <//>`}
  </section>`;
}
