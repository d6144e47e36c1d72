// The newest log lines of a device and its support bundle, asked for by an operator.

import { html, useEffect, useState } from "/web/vendor/preact-htm.js";
import { Ask } from "/web/command.js";
import * as format from "/web/format.js";
import { Empty } from "/web/widgets.js";

const LINES = 200;
const PROFILE_S = 10;

export function DeviceLog({ device }) {
  const target = { fleet: device.fleet, filter: `name=${device.name}` };
  const bundle = { ...target, name: "support-bundle", expires_s: 300 };
  return html`
    <${Ask} label="Log" command=${{ ...target, name: "log", arguments: { lines: LINES } }} shown=${Lines} />
    <${Ask} label="Support bundle" command=${bundle} shown=${Download} />
    <${Ask} label="Support bundle with a flame graph" command=${{ ...bundle, arguments: { profile: PROFILE_S } }} shown=${Download} />
  `;
}

function Lines({ result }) {
  if (!result.lines.length) return html`<${Empty}>The daemon has logged nothing since its start.<//>`;
  return html`<pre class="log" tabindex="0" aria-label="Log lines">${result.lines.join("\n")}</pre>`;
}

function Download({ result }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    const bytes = Uint8Array.from(atob(result.data), (letter) => letter.charCodeAt(0));
    const made = URL.createObjectURL(new Blob([bytes], { type: "application/gzip" }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [result]);
  return html`<p><a href=${address} download=${result.name}>${result.name}</a>, ${format.bytes(result.bytes)}. It has no keys and
    passwords; look through it before you pass it on.</p>`;
}
