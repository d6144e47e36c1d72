// Why an agent decided as it did: the answer to the command explain, drawn.
//
// Theory of operation. Each factor's states are bars before and after the readings; each policy has its utility and
// its information gain apart, in nats, and its probability. Bars have their figures beside them as text.

import { html } from "/web/vendor/preact-htm.js";
import * as format from "/web/format.js";
import { Bar, Facts, Table } from "/web/widgets.js";

export function Why({ result }) {
  const observed = result.observed.join(", ");
  return html`
    <${Facts}
      facts=${[
        ["Tick", `${format.whole(result.tick)}${result.within_tick ? ", still open" : ""}`],
        ["Observed", observed],
        ["Did", result.held_safe ? `its safe value; chose ${actions(result, result.chosen)}` : actions(result, result.chosen)],
        ...(result.window ? [["Inferred over", `the last ${format.whole(result.window)} ticks`]] : []),
        ["Surprise", result.free_energy === null ? "" : `${format.number(result.free_energy)} nat`],
        ["What the next best needed", needed(result)],
      ]}
    />
    ${result.factors.map((factor) => html`<${Belief} key=${factor.name} factor=${factor} />`)}
    <${Policies} result=${result} />
  `;
}

function Belief({ factor }) {
  const rows = factor.states.map((state, n) => ({ state, before: factor.before && factor.before[n], after: factor.after[n] }));
  const columns = [
    [`State of ${factor.name}`, (row) => row.state],
    ...(factor.before ? [["Before the readings", (row) => html`<${Bar} share=${row.before} kind="before" />`]] : []),
    [factor.before ? "After the readings" : "Now", (row) => html`<${Bar} share=${row.after} kind="after" />`],
  ];
  return html`<${Table} caption=${`Belief: ${factor.name}`} columns=${columns} rows=${rows} id=${(row) => row.state} />`;
}

function Policies({ result }) {
  const options = result.options;
  const most = Math.max(1e-9, ...options.flatMap((one) => [Math.abs(one.utility), Math.abs(one.information_gain)]));
  const nats = (value) => html`<${Bar} share=${Math.abs(value) / most} kind=${value < 0 ? "loss" : "gain"} text=${`${format.number(value)} nat`} />`;
  const columns = [
    ["First action", (row) => actions(result, row.actions)],
    ["Utility", (row) => nats(row.utility)],
    ["Information gain", (row) => nats(row.information_gain)],
    ["Probability", (row) => html`<${Bar} share=${row.posterior} kind="after" />`],
  ];
  const more = result.policies - options.length;
  return html`
    <${Table} caption="Policies, the most probable first" columns=${columns} rows=${options} id=${(row) => row.policy} />
    ${more > 0 && html`<p>${format.whole(more)} less probable policies are not shown.</p>`}
  `;
}

const actions = (result, values) => values.map((value, n) => `${result.controls[n] ?? n}: ${value}`).join(", ");

/** Return how much better the best policy with another first action would have had to be. */
export function needed(result) {
  const worth = (option) => option.utility + option.information_gain;
  const first = (option) => JSON.stringify(option.actions);
  const best = result.options[0];
  const next = best && result.options.find((option) => first(option) !== first(best));
  if (!next) return "";
  return `${actions(result, next.actions)}: ${format.number(Math.max(0, worth(best) - worth(next)))} nat more`;
}
