// Logging in, and the first admin by the one-time link that the hub prints.

import { html, useState } from "/web/vendor/preact-htm.js";
import { post, setSession } from "/web/api.js";
import { go } from "/web/hooks.js";
import { Field, Form, Heading } from "/web/widgets.js";

export function Login() {
  const submit = async ({ user, password }) => {
    const found = await post("/session", { user, password });
    if (location.pathname === "/login" || location.pathname === "/setup") go("/", { replace: true });
    setSession(found);
  };
  return html`<main class="entrance">
    <${Heading} title="Log in" />
    <${Form} label="Log in" submit=${submit} kind="stacked">
      <${Field} label="Name" name="user" autocomplete="username" required autofocus maxlength="64" />
      <${Field} label="Password" name="password" type="password" autocomplete="current-password" required />
    <//>
  </main>`;
}

export function Setup() {
  // The code stands behind '#', so that no server or proxy has it in its log.
  const [code] = useState(() => location.hash.slice(1));
  const submit = async (values) => {
    if (values.password !== values.again) throw new Error("The two passwords differ.");
    const found = await post("/setup", { code: values.code, user: values.user, password: values.password });
    go("/", { replace: true });
    setSession(found);
  };
  return html`<main class="entrance">
    <${Heading} title="Make the first admin" />
    <p>The hub prints a link with a code when it starts and has no admin. The code works once, for an hour.</p>
    <${Form} label="Make the admin" submit=${submit} kind="stacked">
      <${Field} label="Code" name="code" defaultValue=${code} required autocomplete="off" maxlength="256" />
      <${Field} label="Name" name="user" required autocomplete="username" pattern="[A-Za-z0-9_.@\\-]{1,64}" maxlength="64" />
      <${Field} label="Password" name="password" type="password" required minlength="10" maxlength="256"
        autocomplete="new-password" hint="10 characters or more" />
      <${Field} label="Password again" name="again" type="password" required autocomplete="new-password" />
    <//>
  </main>`;
}
