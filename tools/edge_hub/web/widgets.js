// Small components that several pages have. Text becomes text nodes; nothing is ever parsed as HTML.

import { html, useEffect, useRef, useState } from "/web/vendor/preact-htm.js";
import * as format from "/web/format.js";
import { useAction, useNow } from "/web/hooks.js";

const GOOD = ["online", "done", "committed", "live", "whole", "cleared", "delivered"];
const BAD = ["failed", "stopped", "aborted", "refused", "lost", "broken", "critical", "firing"];
const BUSY = ["running", "sent", "proposed", "waiting", "paused", "silent", "parked", "connecting", "warning", "clearing", "sending"];

/** A state: a colour and a word. */
export function State({ name, detail = "" }) {
  const kind = GOOD.includes(name) ? "good" : BAD.includes(name) ? "bad" : BUSY.includes(name) ? "busy" : "plain";
  return html`<span class=${`state ${kind}`} title=${detail || null}>${name}</span>`;
}

/** A time: relative, absolute on hover. */
export function Time({ t, now }) {
  return html`<time title=${format.absolute(t)}>${format.ago(t, now)}</time>`;
}

export function LiveTime({ t }) {
  return html`<${Time} t=${t} now=${useNow()} />`;
}

export function Trouble({ problem }) {
  return problem ? html`<p class="problem" role="alert">${problem.message}</p>` : null;
}

/** An empty part of a page says what to do next. */
export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

/** A heading with what can be done beside it. */
export function Heading({ title, children }) {
  useEffect(() => {
    document.title = `${title} – edge-hub`;
  }, [title]);
  return html`<header class="heading"><h1>${title}</h1><div class="actions">${children}</div></header>`;
}

/** Names and values. */
export function Facts({ facts }) {
  const shown = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html`<dl class="facts">
    ${shown.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

/** A table. `columns` are [name, cell(row), class]; `id(row)` tells rows apart. */
export function Table({ caption, columns, rows, id }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <thead>
        <tr>${columns.map(([name, , kind]) => html`<th key=${name} scope="col" class=${kind || null}>${name}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${id(row)}>
            ${columns.map(([name, cell, kind]) => html`<td key=${name} class=${kind || null} data-name=${name}>${cell(row)}</td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** A button that does one thing at a time and shows the problem that it met; `confirm` is asked before. */
export function Action({ label, action, confirm = "", kind = "" }) {
  const [asking, setAsking] = useState(false);
  const [run, busy, problem] = useAction(action);
  if (asking) {
    return html`<span class="confirm" role="group">
      <span>${confirm}</span>
      <button class="danger" onClick=${() => (setAsking(false), run())}>Yes, ${label.toLowerCase()}</button>
      <button onClick=${() => setAsking(false)}>No</button>
    </span>`;
  }
  return html`<span>
    <button class=${kind} disabled=${busy} onClick=${() => (confirm ? setAsking(true) : run())}>${label}</button>
    <${Trouble} problem=${problem} />
  </span>`;
}

/** A form; `submit(values, form)` gets the fields as an object. */
export function Form({ label, submit, children, kind = "" }) {
  const [run, busy, problem] = useAction(submit);
  const submitted = (event) => {
    event.preventDefault();
    run(Object.fromEntries(new FormData(event.target)), event.target);
  };
  return html`<form class=${kind} onSubmit=${submitted}>
    ${children}
    <button type="submit" class="primary" disabled=${busy}>${label}</button>
    <${Trouble} problem=${problem} />
  </form>`;
}

export function Field({ label, hint = "", children, ...more }) {
  return html`<div class="field">
    <label><span>${label}</span>${children || html`<input ...${more} />`}</label>
    ${hint && html`<small>${hint}</small>`}
  </div>`;
}

/** A share of 1 as a bar with its figure. */
export function Bar({ share, kind, text = format.percent(share) }) {
  return html`<span class="bar">
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <rect class=${kind} width=${(100 * Math.min(Math.max(share, 0), 1)).toFixed(2)} height="10"></rect>
    </svg>
    <span class="figure">${text}</span>
  </span>`;
}

/** JSON to be unfolded. */
export function Json({ label, value }) {
  return html`<details>
    <summary>${label}</summary>
    <pre tabindex="0" aria-label=${label}>${JSON.stringify(value, null, 1)}</pre>
  </details>`;
}

/** A dialog that Escape closes. */
export function Dialog({ title, close, children }) {
  const box = useRef(null);
  useEffect(() => {
    box.current.showModal();
  }, []);
  return html`<dialog ref=${box} onClose=${close} aria-label=${title}>
    <h2>${title}</h2>
    ${children}
    <button onClick=${() => box.current.close()}>Close</button>
  </dialog>`;
}
