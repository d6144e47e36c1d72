// API tokens of who is logged in; an admin sees all.

import { html, useState } from "/web/vendor/preact-htm.js";
import { post, remove } from "/web/api.js";
import { useLoaded } from "/web/hooks.js";
import { Action, Empty, Field, Form, Heading, LiveTime, Table, Trouble } from "/web/widgets.js";

const ROLES = ["viewer", "operator", "admin"];
const SCOPES = ["devices", "bundles", "rollouts", "commands", "groups", "alerts", "learning", "users", "audit", "events", "metrics"];

export function Tokens() {
  const { data, problem, reload } = useLoaded("/tokens");
  const [made, setMade] = useState(null);
  const add = async (values, form) => {
    const scopes = [...form.elements.scopes.selectedOptions].map((option) => option.value);
    setMade(await post("/tokens", { name: values.name, role: values.role, days: Number(values.days), scopes }));
    form.reset();
    reload();
  };
  const columns = [
    ["Name", (row) => row.name],
    ["User", (row) => row.user],
    ["Role", (row) => row.role],
    ["Scopes", (row) => row.scopes.join(", ") || "all"],
    ["Made", (row) => html`<${LiveTime} t=${row.created} />`],
    ["Ends", (row) => html`<${LiveTime} t=${row.expires} />`],
    ["Change", (row) => html`<${Action} label=${`Remove ${row.name}`} confirm="Scripts that use it are refused."
      action=${async () => (await remove(`/tokens/${row.id}`), reload())} />`],
  ];
  return html`
    <${Heading} title="Tokens" />
    <${Trouble} problem=${problem} />
    ${made && html`<p class="note" role="status">Copy the token now, it is shown this once: <code class="digest">${made.token}</code></p>`}
    ${data && !data.length && html`<${Empty}>A script calls the hub with a token: <code>edge-hub devices --hub URL --token-file FILE</code>.<//>`}
    ${data && data.length > 0 && html`<${Table} caption="Tokens" columns=${columns} rows=${data} id=${(row) => row.id} />`}
    <section class="card">
      <h2>Make a token</h2>
      <${Form} label="Make" submit=${add} kind="line">
        <${Field} label="Name" name="name" required maxlength="64" pattern="[A-Za-z0-9_. \\-]+" autocomplete="off" />
        <${Field} label="Role" hint="never more than your own"><select name="role">${ROLES.map((role) => html`<option key=${role} value=${role}>${role}</option>`)}</select><//>
        <${Field} label="Days" name="days" type="number" min="1" max="366" defaultValue="90" required />
        <${Field} label="Scopes" hint="none: all"><select name="scopes" multiple size="4">${SCOPES.map((scope) => html`<option key=${scope} value=${scope}>${scope}</option>`)}</select><//>
      <//>
    </section>
  `;
}
