// Learning: which populations sent what they learned under which model; one of them, who contributed and the rounds.

import { html } from "/web/vendor/preact-htm.js";
import * as format from "/web/format.js";
import { useLoaded } from "/web/hooks.js";
import { Empty, Facts, Heading, LiveTime, Table, Trouble } from "/web/widgets.js";

const model = (row) => (row.name ? `${row.name} ${row.version}` : row.bundle.slice(0, 12));
const nats = (value) => `${format.number(value)} nat`;

const POPULATIONS = [
  ["Population", (row) => html`<a href=${`/learning${format.path(row.fleet, row.population, row.bundle)}`}>${row.population}</a>`],
  ["Fleet", (row) => row.fleet],
  ["Model", (row) => html`<a href=${`/models${format.path(row.bundle)}`}>${model(row)}</a>`],
  ["Devices", (row) => format.whole(row.devices), "figure"],
  ["Epochs", (row) => format.whole(row.epochs), "figure"],
  ["Incomplete", (row) => format.whole(row.epochs - row.complete), "figure"],
  ["Updates", (row) => format.whole(row.updates), "figure"],
  ["Last heard", (row) => html`<${LiveTime} t=${row.received} />`],
];

export function Learning() {
  const { data, problem } = useLoaded("/learning");
  return html`
    <${Heading} title="Learning" />
    <${Trouble} problem=${problem} />
    ${data && !data.length && html`<${Empty}>No device has sent what it learned: <code>learn_send_s</code> of a population, or <code>edge-hub command send-learned</code>.<//>`}
    ${data && data.length > 0 && html`<${Table} caption="Populations that learn" columns=${POPULATIONS} rows=${data} id=${(row) => `${row.fleet}/${row.population}/${row.bundle}`} />`}
  `;
}

const DEVICES = (fleet) => [
  ["Device", (row) => html`<a href=${`/device${format.path(fleet, row.device)}`}>${row.device}</a>`],
  ["Epochs", (row) => format.whole(row.epochs), "figure"],
  ["Incomplete", (row) => format.whole(row.epochs - row.complete), "figure"],
  ["Updates", (row) => format.whole(row.updates), "figure"],
  ["First", (row) => html`<${LiveTime} t=${row.first} />`],
  ["Last", (row) => html`<${LiveTime} t=${row.last} />`],
];
const worst = (row) => row.tensors.reduce((most, one) => (one.kl_most > most.kl_most ? one : most), row.tensors[0]);
const ROUNDS = [
  ["When", (row) => html`<${LiveTime} t=${row.t} />`],
  ["By", (row) => row.who],
  ["Sum", (row) => row.sum],
  ["Devices", (row) => format.whole(row.devices), "figure"],
  ["Left out", (row) => format.whole(row.refused), "figure"],
  ["Counts", (row) => format.whole(row.counts), "figure"],
  ["Changed most", (row) => (row.tensors.length ? `${worst(row).name}: ${nats(worst(row).kl_most)}` : "–")],
  ["Held-out readings", (row) => (row.held_out ? format.whole(row.held_out.readings) : "–"), "figure"],
  ["Per reading before", (row) => (row.held_out ? nats(row.held_out.before) : "–"), "figure"],
  ["After", (row) => (row.held_out ? nats(row.held_out.after) : "–"), "figure"],
  ["New file", (row) => html`<code title=${row.output_sha256}>${row.output_sha256.slice(0, 12)}</code>`],
];

export function Learned({ parts }) {
  const [fleet, population, bundle] = parts;
  const { data, problem } = useLoaded(`/learning${format.path(fleet, population, bundle)}`);
  if (!data) return html`<${Heading} title="Learning" /><${Trouble} problem=${problem} />`;
  const total = (key) => format.whole(data.devices.reduce((sum, row) => sum + row[key], 0));
  return html`
    <${Heading} title=${`${population}, ${fleet}`} />
    <${Trouble} problem=${problem} />
    <${Facts}
      facts=${[
        ["Model", html`<a href=${`/models${format.path(bundle)}`}><code>${bundle.slice(0, 12)}</code></a>`],
        ["Devices", format.whole(data.devices.length)],
        ["Epochs", total("epochs")],
        ["Updates", total("updates")],
      ]}
    />
    ${!data.rounds.length && html`<${Empty}>No round yet: <code>edge-hub learn --hub URL --fleet ${fleet} --population ${population} --source MODEL.npz -o NEW.npz</code>.<//>`}
    ${data.rounds.length > 0 && html`<${Table} caption="Rounds" columns=${ROUNDS} rows=${data.rounds} id=${(row) => row.number} />`}
    <${Table} caption="Contributions" columns=${DEVICES(fleet)} rows=${data.devices} id=${(row) => row.device} />
  `;
}
