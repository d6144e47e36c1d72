// The audit: who changed what, and whether its chain of hashes holds.

import { html, useState } from "/web/vendor/preact-htm.js";
import { get } from "/web/api.js";
import * as format from "/web/format.js";
import { useLoaded } from "/web/hooks.js";
import { Action, Facts, Heading, LiveTime, State, Table, Trouble } from "/web/widgets.js";

const PAGE = 100;

export function Audit() {
  // Everything that raises these events is an entry, too.
  const { data, problem } = useLoaded(`/audit${format.query({ limit: PAGE })}`, ["rollout", "bundle", "replies", "registry"]);
  const [older, setOlder] = useState([]);
  const [chain, setChain] = useState(null);
  const rows = data ? [...data, ...older.filter((row) => row.seq < data[data.length - 1]?.seq)] : [];
  const more = async () => {
    const found = await get(`/audit${format.query({ limit: PAGE, before: rows[rows.length - 1].seq })}`);
    setOlder([...older, ...found]);
  };
  const columns = [
    ["No.", (row) => format.whole(row.seq), "figure"],
    ["When", (row) => html`<${LiveTime} t=${row.t} />`],
    ["Who", (row) => row.who],
    ["Did", (row) => row.action],
    ["To", (row) => row.object],
    ["Before", (row) => html`<${Value} value=${row.before} />`],
    ["After", (row) => html`<${Value} value=${row.after} />`],
  ];
  return html`
    <${Heading} title="Audit">
      <${Action} label="Check the chain" action=${async () => setChain(await get("/audit/verify"))} />
    <//>
    <${Trouble} problem=${problem} />
    ${chain && html`<${Facts}
      facts=${[
        ["Chain", html`<${State} name=${chain.broken ? "broken" : "whole"} />`],
        ["First entry that does not hold", chain.broken ? String(chain.broken) : ""],
        ["Entries that hold", format.whole(chain.entries)],
        ["Last hash", html`<code class="digest">${chain.hash}</code>`],
      ]}
    />`}
    <${Table} caption="Audit, the newest entry first" columns=${columns} rows=${rows} id=${(row) => row.seq} />
    ${rows.length >= PAGE && rows[rows.length - 1].seq > 1 && html`<button onClick=${more}>Older entries</button>`}
  `;
}

function Value({ value }) {
  if (value === null) return "–";
  const text = JSON.stringify(value);
  return html`<code class="value" title=${text}>${text.length > 120 ? `${text.slice(0, 120)}…` : text}</code>`;
}
