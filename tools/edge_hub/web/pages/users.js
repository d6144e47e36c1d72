// Users: who can log in, and as what.

import { html } from "/web/vendor/preact-htm.js";
import { patch, post, remove } from "/web/api.js";
import { useAction, useLoaded } from "/web/hooks.js";
import { Action, Field, Form, Heading, LiveTime, State, Table, Trouble } from "/web/widgets.js";

const ROLES = ["viewer", "operator", "admin"];

export function Users() {
  const { data, problem, reload } = useLoaded("/users");
  const add = async (values, form) => {
    await post("/users", values);
    form.reset();
    reload();
  };
  const columns = [
    ["Name", (row) => row.name],
    ["Role", (row) => html`<${Role} user=${row} changed=${reload} />`],
    ["State", (row) => html`<${State} name=${row.disabled ? "locked out" : "active"} />`],
    ["Since", (row) => html`<${LiveTime} t=${row.created} />`],
    ["Change", (row) => html`<${Changes} user=${row} changed=${reload} />`],
  ];
  return html`
    <${Heading} title="Users" />
    <${Trouble} problem=${problem} />
    <${Table} caption="Users" columns=${columns} rows=${data || []} id=${(row) => row.id} />
    <section class="card">
      <h2>Add a user</h2>
      <${Form} label="Add" submit=${add} kind="line">
        <${Field} label="Name" name="name" required maxlength="64" autocomplete="off" />
        <${Field} label="Role"><select name="role">${ROLES.map((role) => html`<option key=${role} value=${role}>${role}</option>`)}</select><//>
        <${Field} label="Password" name="password" type="password" required minlength="10" maxlength="256"
          autocomplete="new-password" hint="10 characters or more" />
      <//>
    </section>
  `;
}

function Role({ user, changed }) {
  const [run, busy, problem] = useAction(async (role) => {
    try {
      await patch(`/users/${user.id}`, { role });
    } finally {
      changed();
    }
  });
  return html`
    <select aria-label=${`Role of ${user.name}`} disabled=${busy} onChange=${(event) => run(event.target.value)}>
      ${ROLES.map((role) => html`<option key=${role} value=${role} selected=${role === user.role}>${role}</option>`)}
    </select>
    <${Trouble} problem=${problem} />
  `;
}

function Changes({ user, changed }) {
  const change = (values) => async () => {
    await patch(`/users/${user.id}`, values);
    changed();
  };
  const forget = async () => {
    await remove(`/users/${user.id}`);
    changed();
  };
  return html`<span class="actions">
    ${user.disabled
      ? html`<${Action} label=${`Let ${user.name} in`} action=${change({ disabled: false })} />`
      : html`<${Action} label=${`Lock ${user.name} out`} action=${change({ disabled: true })} />`}
    <${Action} label=${`Remove ${user.name}`} confirm="Sessions and tokens go, too." action=${forget} />
  </span>`;
}
