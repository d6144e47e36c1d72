// Alerts: what is wrong now, what was, the rules that say so; and one alert with its devices and notices.

import { html, useState } from "/web/vendor/preact-htm.js";
import { get, may, post, put, remove } from "/web/api.js";
import * as format from "/web/format.js";
import { useLoaded } from "/web/hooks.js";
import { Action, Empty, Facts, Field, Form, Heading, LiveTime, State, Table, Trouble } from "/web/widgets.js";

const PAGE = 50;
const MEASURES = ["value", "increase", "trend"];
const SEVERITIES = ["warning", "critical"];

const named = (row) => row.names.slice(0, 3).join(", ") + (row.most > 3 ? " …" : "");
const count = (row) => (row.status === "open" ? row.devices : row.most);

const COLUMNS = [
  ["Severity", (row) => html`<${State} name=${row.status === "open" ? row.severity : row.status} />`],
  ["Alert", (row) => html`<a href=${`/alerts${format.path(row.id)}`}>${row.rule}</a>`],
  ["Where", (row) => row.group_name],
  ["Devices", (row) => format.whole(count(row)), "figure"],
  ["Among them", named],
  ["Condition", (row) => row.condition],
  ["Began", (row) => html`<${LiveTime} t=${row.opened} />`],
  ["Cleared", (row) => (row.cleared ? html`<${LiveTime} t=${row.cleared} />` : "–")],
  ["Known to", (row) => row.acknowledged_by || "–"],
];

export function Alerts({ query }) {
  const status = query.status ?? "open";
  const { data, problem } = useLoaded(`/alerts${format.query({ status, limit: PAGE })}`, ["alert"]);
  const [older, setOlder] = useState([]);
  const rows = data ? [...data, ...older.filter((row) => row.opened < data[data.length - 1]?.opened)] : [];
  const more = async () => {
    const before = rows[rows.length - 1].opened;
    setOlder([...older, ...(await get(`/alerts${format.query({ status, limit: PAGE, before })}`))]);
  };
  return html`
    <${Heading} title="Alerts">
      ${status === "open"
        ? html`<a class="button" href="/alerts?status=">Cleared ones, too</a>`
        : html`<a class="button" href="/alerts">Open ones alone</a>`}
    <//>
    <${Trouble} problem=${problem} />
    ${data && !rows.length && html`<${Empty}>${status === "open" ? "Nothing is wrong, as far as the rules below see." : "There was no alert yet."}<//>`}
    ${rows.length > 0 && html`<${Table} caption="Alerts" columns=${COLUMNS} rows=${rows} id=${(row) => row.id} />`}
    ${rows.length >= PAGE && html`<button onClick=${more}>Older alerts</button>`}
    <${Rules} />
  `;
}

function Rules() {
  const { data, problem, reload } = useLoaded("/alerts/rules");
  const { data: targets } = useLoaded("/alerts/targets");
  const columns = [
    ["Rule", (row) => row.name],
    ["State", (row) => html`<${State} name=${row.enabled ? "on" : "off"} />`],
    ["Condition", (row) => row.condition],
    ["Severity", (row) => row.severity],
    ["Devices", (row) => row.filter || "all"],
    ["One alert per", (row) => row.group],
    ["Told to", (row) => row.notify.join(", ") || "all targets"],
  ];
  if (may("operator")) columns.push(["Change", (row) => html`<${Change} row=${row} reload=${reload} />`]);
  return html`<section class="card">
    <h2>Rules</h2>
    <${Trouble} problem=${problem} />
    ${targets && !targets.length && html`<p class="note">Notices go nowhere: start the hub with <code>edge-hub serve --notify FILE</code>.</p>`}
    ${targets && targets.length > 0 && html`<p>Notices go to ${targets.join(", ")}.</p>`}
    ${data && !data.length && html`<${Empty}>There is no rule: <code>edge-hub alerts set-rule NAME --file FILE</code>.<//>`}
    ${data && data.length > 0 && html`<${Table} caption="Rules" columns=${columns} rows=${data} id=${(row) => row.name} />`}
    ${may("operator") && html`<${NewRule} reload=${reload} />`}
  </section>`;
}

function Change({ row, reload }) {
  const { name, condition, ...rule } = row;
  const turn = async () => (await put(`/alerts/rules${format.path(name)}`, { ...rule, enabled: !row.enabled }), reload());
  return html`<${Action} label=${`Turn ${name} ${row.enabled ? "off" : "on"}`} action=${turn} />
    <${Action} label=${`Delete ${name}`} confirm="Its open alerts end."
      action=${async () => (await remove(`/alerts/rules${format.path(name)}`), reload())} />`;
}

function NewRule({ reload }) {
  const submit = async (values, form) => {
    const rule = {
      field: values.field,
      above: values.side === "above",
      limit: Number(values.limit),
      measure: values.measure,
      window_s: values.measure === "value" ? 0 : Number(values.window_s),
      for_s: Number(values.for_s),
      recover_s: Number(values.recover_s),
      severity: values.severity,
      filter: values.filter,
      group: values.group,
    };
    await put(`/alerts/rules${format.path(values.name)}`, rule);
    form.reset();
    reload();
  };
  const choice = (name, values) => html`<select name=${name}>${values.map((value) => html`<option key=${value} value=${value}>${value}</option>`)}</select>`;
  return html`<h3>Make or replace a rule</h3>
    <${Form} label="Make the rule" submit=${submit} kind="columns">
      <${Field} label="Rule's name" name="name" required maxlength="64" pattern="[a-z0-9][a-z0-9\\-]*" autocomplete="off" hint="a-z, 0-9 and -" />
      <${Field} label="Field" name="field" required maxlength="257" autocomplete="off" hint="silence, gaps, rss, health/temperature_c, POPULATION/COUNTER, */COUNTER" />
      <${Field} label="Measure">${choice("measure", MEASURES)}<//>
      <${Field} label="Window (s)" name="window_s" type="number" min="60" max="86400" defaultValue="3600" hint="for increase and trend" />
      <${Field} label="Side">${choice("side", ["above", "below"])}<//>
      <${Field} label="Limit" name="limit" type="number" step="any" required hint="a trend is per hour" />
      <${Field} label="For (s)" name="for_s" type="number" min="0" defaultValue="60" required />
      <${Field} label="Recover (s)" name="recover_s" type="number" min="0" defaultValue="60" required />
      <${Field} label="Severity">${choice("severity", SEVERITIES)}<//>
      <${Field} label="Devices: filter" name="filter" maxlength="1000" hint="empty: all" />
      <${Field} label="One alert per" name="group" defaultValue="fleet" required hint="fleet, device or label.KEY" />
    <//>`;
}

const MEMBERS = [
  ["Device", (row) => html`<a href=${`/device${format.path(row.fleet, row.device)}`}>${row.device}</a>`],
  ["Fleet", (row) => row.fleet],
  ["State", (row) => html`<${State} name=${row.state} />`],
  ["Since", (row) => html`<${LiveTime} t=${row.since} />`],
  ["Measure", (row) => format.number(row.value), "figure"],
];
const NOTICES = [
  ["No.", (row) => format.whole(row.notice), "figure"],
  ["Kind", (row) => row.kind],
  ["To", (row) => row.target],
  ["State", (row) => html`<${State} name=${row.state === "sent" ? "delivered" : row.state} />`],
  ["Attempts", (row) => format.whole(row.attempts), "figure"],
  ["Repeated", (row) => (row.repeated ? "yes" : "no")],
  ["Made", (row) => html`<${LiveTime} t=${row.created} />`],
];

export function Alert({ parts }) {
  const path = `/alerts${format.path(parts[0])}`;
  const { data, problem, reload } = useLoaded(path, ["alert"], (row) => row.id === parts[0]);
  if (!data) return html`<${Heading} title="Alert" /><${Trouble} problem=${problem} />`;
  const waits = data.status === "open" && !data.acknowledged && may("operator");
  return html`
    <${Heading} title=${`${data.rule}, ${data.group_name}`}>
      ${waits && html`<${Action} label="Acknowledge" action=${async () => (await post(`${path}/acknowledge`, {}), reload())} />`}
    <//>
    <${Trouble} problem=${problem} />
    <${Facts}
      facts=${[
        ["State", html`<${State} name=${data.status} />`],
        ["Severity", html`<${State} name=${data.severity} />`],
        ["Condition", data.condition],
        ["Devices", `${format.whole(data.devices)}, at most ${format.whole(data.most)} at once`],
        ["Began", html`<${LiveTime} t=${data.opened} />`],
        ["Cleared", data.cleared ? html`<${LiveTime} t=${data.cleared} />` : ""],
        ["Known to", data.acknowledged_by],
        ["Among them", data.status === "open" ? "" : named(data)],
      ]}
    />
    ${data.members.length > 0 && html`<h2>Devices</h2>
      <${Table} caption="Devices" columns=${MEMBERS} rows=${data.members} id=${(row) => `${row.fleet}/${row.device}`} />`}
    <h2>Notices</h2>
    ${data.deliveries.length
      ? html`<${Table} caption="Notices" columns=${NOTICES} rows=${data.deliveries} id=${(row) => `${row.notice} ${row.target}`} />`
      : html`<${Empty}>No notice went out.<//>`}
  `;
}
