// The readings of a population beside those that its model was made of: one table per modality, a bar per bin.

import { html } from "/web/vendor/preact-htm.js";
import * as format from "/web/format.js";
import { Bar, Empty, Table } from "/web/widgets.js";

const CHANGED = 0.25;
const WATCHED = 0.1;

/** `drift` is that of a population in the answer to the command status. */
export function Drift({ population, drift }) {
  const told = drift.index === null
    ? "not known yet: a day of readings is compared, or more where there are few"
    : `stability index ${format.number(drift.index)}: ${verdict(drift.index)}`;
  return html`
    <p>${population}, readings against those that its model was made of: ${told}</p>
    ${drift.index !== null && drift.modalities.map((one) => html`<${Shares} key=${one.modality} population=${population} modality=${one} />`)}
  `;
}

function verdict(index) {
  if (index >= CHANGED) return "a large change (0.25 or more)";
  return index >= WATCHED ? "some change (0.1 or more)" : "no change (below 0.1)";
}

function Shares({ population, modality }) {
  const share = (counts) => {
    const all = counts.reduce((sum, count) => sum + count, 0) || 1;
    return counts.map((count) => count / all);
  };
  const [expected, found] = [share(modality.expected), share(modality.found)];
  const rows = modality.bins.map((bin, n) => ({ bin, expected: expected[n], found: found[n] }));
  const columns = [
    [modality.modality, (row) => row.bin],
    ["The model was made of", (row) => html`<${Bar} share=${row.expected} kind="before" />`],
    ["Read in the last window", (row) => html`<${Bar} share=${row.found} kind="after" />`],
  ];
  if (!modality.found.some((count) => count)) return html`<${Empty}>${modality.modality}: nothing was read.<//>`;
  return html`<${Table} caption=${`Drift of ${population}: ${modality.modality}`} columns=${columns} rows=${rows} id=${(row) => row.bin} />`;
}
