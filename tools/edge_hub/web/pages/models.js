// Bundles: what was uploaded, what runs where, and one bundle with the report of its conversion.

import { html, useState } from "/web/vendor/preact-htm.js";
import { get, may, request } from "/web/api.js";
import * as format from "/web/format.js";
import { go, useLoaded } from "/web/hooks.js";
import { Empty, Facts, Field, Form, Heading, Json, LiveTime, Table, Trouble } from "/web/widgets.js";

const PAGE = 50;

export function Models() {
  const { data, problem, reload } = useLoaded(`/bundles${format.query({ limit: PAGE })}`, ["bundle"]);
  const { data: running } = useLoaded("/populations", ["registry"]);
  const [older, setOlder] = useState([]);
  const rows = data ? [...data, ...older] : [];
  const more = async () => {
    const found = await get(`/bundles${format.query({ limit: PAGE, before: rows[rows.length - 1].uploaded })}`);
    setOlder([...older, ...found]);
  };
  const upload = async (_, form) => {
    const made = await request("POST", "/bundles", form.elements.file.files[0]);
    form.reset();
    reload();
    go(`/models${format.path(made.digest)}`);
  };
  const columns = [
    ["Bundle", (row) => html`<a href=${`/models${format.path(row.digest)}`}>${row.name} ${row.version}</a>`],
    ["Digest", (row) => html`<code>${format.short(row.digest)}</code>`],
    ["Kind", (row) => row.kind],
    ["Size", (row) => format.bytes(row.size), "figure"],
    ["Signed by", (row) => html`<code>${row.signer || "nobody"}</code>`],
    ["Uploaded", (row) => html`<${LiveTime} t=${row.uploaded} /> by ${row.uploaded_by}`],
  ];
  return html`
    <${Heading} title="Models" />
    <${Trouble} problem=${problem} />
    ${may("operator") && html`<${Form} label="Upload" submit=${upload} kind="line">
      <${Field} label="Bundle (.eab)" name="file" type="file" accept=".eab" required />
    <//>`}
    ${data && !rows.length && html`<${Empty}>No bundle was uploaded yet. Make one with <code>edge-convert convert</code>.<//>`}
    ${rows.length > 0 && html`<${Table} caption="Bundles" columns=${columns} rows=${rows} id=${(row) => row.digest} />`}
    ${rows.length >= PAGE && html`<button onClick=${more}>Older bundles</button>`}
    <section><h2>What runs where</h2><${Running} rows=${running || []} /></section>
  `;
}

function Running({ rows }) {
  if (!rows.length) return html`<${Empty}>No device has reported a population yet.<//>`;
  const filter = (row) => `fleet=${row.fleet} population=${row.population} bundle=${row.bundle}`;
  const columns = [
    ["Fleet", (row) => row.fleet],
    ["Population", (row) => row.population],
    ["Bundle", (row) => html`<code>${format.short(row.bundle)}</code>`],
    ["Devices", (row) => html`<a href=${`/${format.query({ filter: filter(row) })}`}>${format.whole(row.devices)} devices</a>`, "figure"],
    ["Agents", (row) => format.whole(row.agents), "figure"],
  ];
  return html`<${Table} caption="What runs where" columns=${columns} rows=${rows} id=${filter} />`;
}

export function Model({ parts: [digest] }) {
  const { data: bundle, problem } = useLoaded(`/bundles${format.path(digest)}`);
  const { data: running } = useLoaded("/populations", ["registry"]);
  const here = (running || []).filter((row) => row.bundle === digest);
  return html`
    <${Heading} title=${bundle ? `${bundle.name} ${bundle.version}` : "Bundle"}>
      ${bundle && may("operator") && html`<a class="button" href=${`/rollouts${format.query({ bundle: digest })}`}>Roll out</a>`}
    <//>
    ${problem && problem.status === 404
      ? html`<${Empty}>This bundle runs on devices, and was not uploaded to the hub.<//>`
      : html`<${Trouble} problem=${problem} />`}
    ${bundle && html`<${Bundle} bundle=${bundle} />`}
    <section><h2>Where it runs</h2><${Running} rows=${here} /></section>
  `;
}

function Bundle({ bundle }) {
  const { manifest } = bundle;
  return html`
    <${Facts}
      facts=${[
        ["Digest", html`<code class="digest">${bundle.digest}</code>`],
        ["Kind", bundle.kind],
        ["Size", format.bytes(bundle.size)],
        ["Signed by", bundle.signer || "nobody"],
        ["Uploaded", html`<${LiveTime} t=${bundle.uploaded} /> by ${bundle.uploaded_by}`],
      ]}
    />
    <section><h2>Report of the conversion</h2><${Figures} figures=${manifest.evaluation || {}} /></section>
    <section><h2>Memory and requirements</h2>
      <${Figures} figures=${{ ...(manifest.memory || {}), ...(manifest.requires || {}) }} />
    </section>
    <${Json} label="Inputs and outputs" value=${manifest.io} />
    <${Json} label="Manifest" value=${manifest} />
  `;
}

/** Figures by name; those within others are shown with the names of both. */
function Figures({ figures }) {
  const rows = flat(figures);
  if (!rows.length) return html`<${Empty}>The bundle says nothing of it.<//>`;
  const columns = [
    ["Figure", (row) => row[0]],
    ["Value", (row) => (typeof row[1] === "number" ? format.number(row[1]) : String(row[1])), "figure"],
  ];
  return html`<${Table} caption="Figures" columns=${columns} rows=${rows} id=${(row) => row[0]} />`;
}

function flat(value, name = "") {
  if (value === null || typeof value !== "object") return [[name, value]];
  if (Array.isArray(value) && value.every((item) => item === null || typeof item !== "object")) return [[name, value.join(", ")]];
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name}, ${key.replace(/_/g, " ")}` : key.replace(/_/g, " ")));
}
