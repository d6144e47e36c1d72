// A command to devices, and the answers as they come.

import { html, useState } from "/web/vendor/preact-htm.js";
import { postOnce } from "/web/api.js";
import * as format from "/web/format.js";
import { useLoaded } from "/web/hooks.js";
import { Action, Json, State, Trouble } from "/web/widgets.js";

/** The answers to a command that was sent; `shown` draws a result. */
export function Answers({ id, shown }) {
  const { data, problem } = useLoaded(`/commands${format.path(id)}`, ["replies"], (rows) => rows.some((row) => row.command_id === id));
  if (!data) return html`<${Trouble} problem=${problem} />`;
  return data.replies.map((reply) => html`<article key=${reply.device} class="answer">
    <p>${reply.device}: <${State} name=${reply.state} /> ${reply.reason}</p>
    ${reply.state === "done" && (shown ? html`<${shown} result=${reply.result} />` : html`<${Json} label="Answer" value=${reply.result} />`)}
  </article>`);
}

/** A button that sends a command, with the answers below it. */
export function Ask({ label, command, confirm = "", shown = null }) {
  const [id, setId] = useState("");
  const send = async () => {
    const sent = await postOnce("/commands", command);
    setId(sent.id);
  };
  return html`<div class="ask">
    <${Action} label=${label} confirm=${confirm} action=${send} />
    ${id && html`<${Answers} key=${id} id=${id} shown=${shown} />`}
  </div>`;
}
