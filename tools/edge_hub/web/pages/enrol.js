// Enrolment: one-time codes that let a board join a fleet with one command.

import { html, useState } from "/web/vendor/preact-htm.js";
import { post, remove } from "/web/api.js";
import * as format from "/web/format.js";
import { useLoaded, useNow } from "/web/hooks.js";
import { Action, Empty, Field, Form, Heading, LiveTime, State, Table, Trouble } from "/web/widgets.js";

function state(row, now) {
  if (row.used) return "done";
  return row.expires <= now ? "expired" : "waiting";
}

export function Enrol() {
  const { data, problem, reload } = useLoaded("/enrolments", ["registry"]);
  const [made, setMade] = useState(null);
  const now = useNow();
  const add = async (values, form) => {
    setMade(await post("/enrolments", { fleet: values.fleet, device: values.device, hours: Number(values.hours) }));
    form.elements.device.value = "";
    reload();
  };
  const columns = [
    ["State", (row) => html`<${State} name=${state(row, now)} />`],
    ["Fleet", (row) => row.fleet],
    ["Device", (row) => (row.used_by ? html`<a href=${`/device${format.path(row.fleet, row.used_by)}`}>${row.used_by}</a>` : row.device || "any new one")],
    ["Made", (row) => html`<${LiveTime} t=${row.created} /> by ${row.created_by}`],
    ["Ends", (row) => html`<${LiveTime} t=${row.expires} />`],
    ["Used", (row) => (row.used ? html`<${LiveTime} t=${row.used} />` : "–")],
    ["Change", (row) => (row.used ? "–" : html`<${Action} label="Remove" action=${async () => (await remove(`/enrolments/${row.id}`), reload())} />`)],
  ];
  return html`
    <${Heading} title="Enrol" />
    <${Trouble} problem=${problem} />
    ${made && html`<p class="note" role="status">Type this on the board as root. It works once and is shown once:
      <code class="digest">edge-agent enrol ${location.origin} ${made.code}</code></p>`}
    ${data && !data.length && html`<${Empty}>No board was enrolled here yet. Make a code for each board.<//>`}
    ${data && data.length > 0 && html`<${Table} caption="Codes" columns=${columns} rows=${data} id=${(row) => row.id} />`}
    <section class="card">
      <h2>Make a code</h2>
      <${Form} label="Make a code" submit=${add} kind="line">
        <${Field} label="Fleet" name="fleet" required maxlength="64" defaultValue="home" autocomplete="off" />
        <${Field} label="Device" name="device" maxlength="64" autocomplete="off" hint="empty: the board's own name, if it is new" />
        <${Field} label="Hours" name="hours" type="number" min="0.1" max="168" step="any" defaultValue="1" required />
      <//>
    </section>
  `;
}
