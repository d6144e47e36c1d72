// What the hub has set in a device's configuration, and a form that sets other values.
//
// Theory of operation. Values are written one per line, as `edge-agent check` prints them. They become a rollout to this
// one device, which checks and tries them; what comes of it the device reports, and this section shows. Which keys a hub
// may set is the device's to decide.

import { html } from "/web/vendor/preact-htm.js";
import { may, postOnce } from "/web/api.js";
import * as format from "/web/format.js";
import { Empty, Facts, Field, Form, State } from "/web/widgets.js";

const EXAMPLE = "population.rooms.rate_hz = 0.5";

export const CONFIGURATION = "#configuration"; // in the place of a rollout's population

/** Return [key with dots, value] of each value. */
export function listed(values, prefix = "") {
  return Object.entries(values).flatMap(([key, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value) ? listed(value, `${prefix}${key}.`) : [[prefix + key, value]],
  );
}

/** Return the values that lines of `key.key = value` stand for. */
export function parsed(text) {
  const found = {};
  for (const line of text.split("\n").map((line) => line.trim()).filter(Boolean)) {
    const [, path, value] = line.match(/^([^=\s]+)\s*=\s*(.+)$/) || [];
    if (!path) throw new Error(`found ${line}, expected KEY = VALUE`);
    const keys = path.split(".");
    const last = keys.pop();
    let table = found;
    for (const key of keys) table = table[key] = Object.hasOwn(table, key) && typeof table[key] === "object" ? table[key] : {};
    try {
      table[last] = JSON.parse(value);
    } catch {
      throw new Error(`${path}: found ${value}, expected a number or a text in double quotes`);
    }
  }
  return found;
}

export function Configuration({ device }) {
  const own = device.reported.configuration || { values: {} };
  const rows = listed(own.values || {});
  const { stage, reason } = own.rollout || {};
  return html`
    ${rows.length === 0 && html`<${Empty}>The hub has set nothing: the file on the board says all.<//>`}
    <${Facts}
      facts=${[
        ...rows.map(([key, value]) => [key, String(value)]),
        ["Newest change", stage && html`<${State} name=${stage} />`],
        ["Reason", reason],
      ]}
    />
    ${may("operator") && html`<${Change} device=${device} rows=${rows} />`}
  `;
}

function Change({ device, rows }) {
  const submit = async ({ values, shadow, trial }) => {
    const gates = {};
    if (shadow) gates.shadow_seconds = Number(shadow);
    if (trial) gates.trial_seconds = Number(trial);
    await postOnce("/configurations", {
      fleet: device.fleet,
      filter: `name=${device.name}`,
      values: parsed(values),
      canary: "100%",
      gates,
      approve: true,
    });
  };
  return html`<${Form} label="Configure the device" submit=${submit}>
    <${Field} label="Values set by the hub" hint="One per line; they replace those of before, and none takes all back. The device checks and tries them.">
      <textarea name="values" rows="4" placeholder=${EXAMPLE} defaultValue=${rows.map(([key, value]) => `${key} = ${JSON.stringify(value)}`).join("\n")}></textarea>
    <//>
    <${Field} label="Watched before (s)" name="shadow" type="number" min="0" placeholder=${format.whole(60)} />
    <${Field} label="Trial (s)" name="trial" type="number" min="0" placeholder=${format.whole(300)} />
  <//>`;
}
