// The daemon itself on a device: its version, the package bundle it was installed from, and an update under way.

import { html } from "/web/vendor/preact-htm.js";
import { may } from "/web/api.js";
import * as format from "/web/format.js";
import { Facts, State } from "/web/widgets.js";

/** The population of package bundles, as `edge_agent.wire.package` has it. */
export const PACKAGE = "edge-agent";

export const isPackage = (row) => row.name === PACKAGE;

export function Program({ device }) {
  const { populations = {}, rollouts = {} } = device.reported;
  const installed = populations[PACKAGE];
  const update = rollouts[PACKAGE];
  const from = installed?.bundle
    ? html`<a href=${`/models${format.path(installed.bundle)}`}><code>${format.short(installed.bundle)}</code></a>`
    : "not by this hub";
  const { fleet, name } = device;
  return html`
    <${Facts}
      facts=${[
        ["Version", device.version],
        ["Installed", installed ? from : "by hand: the device has no installer, or no release keys"],
        ["Update", update ? html`<${State} name=${String(update.stage)} /> <code>${format.short(update.bundle)}</code>` : ""],
        ["Reason", update?.reason],
      ]}
    />
    ${may("operator") && installed && html`<p><a href=${`/rollouts${format.query({ new: 1, package: 1, fleet, filter: `name=${name}` })}`}>Update this device</a></p>`}
  `;
}
