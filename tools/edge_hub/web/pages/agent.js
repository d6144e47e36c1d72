// One agent: its series, why it decides as it does, and its last steps as the device has them in its history.
//
// Theory of operation. The series come by themselves. For the rest an operator asks the device (the commands explain
// and replay-window); the answer is kept by the hub, and the command's id is part of the address, so that a viewer can
// be sent the same page. A device that nobody asks does nothing for it.

import { html } from "/web/vendor/preact-htm.js";
import { may, postOnce } from "/web/api.js";
import { Answers } from "/web/command.js";
import * as format from "/web/format.js";
import { go, useLoaded } from "/web/hooks.js";
import { Plot } from "/web/plot.js";
import { AgentSeries } from "/web/pages/agent_series.js";
import { Why } from "/web/pages/why.js";
import { Empty, Facts, Field, Form, Heading, Table, Trouble } from "/web/widgets.js";

const QUESTIONS = { steps: "its last steps", why: "why it decides", counters: "its counters (10 s)" };
const COMMANDS = { steps: "replay-window", why: "explain", counters: "counters" };
const SHOWN = { why: Why, counters: Counters };

export function Agent({ parts: [fleet, name], query }) {
  const { data: device, problem } = useLoaded(`/devices${format.path(fleet, name)}`);
  if (!device) return html`<${Heading} title="Agent" /><${Trouble} problem=${problem} />`;
  const populations = device.populations.map((row) => row.name);
  const population = query.population || populations[0] || "";
  const submit = async (values) => {
    const chosen = { agent: values.agent, population: values.population };
    const arguments_ = values.ask === "steps" ? { ...chosen, last: Number(values.last) } : chosen;
    const command = { fleet, filter: `name=${name}`, name: COMMANDS[values.ask], arguments: arguments_ };
    const sent = await postOnce("/commands", command);
    go(`${location.pathname}${format.query({ ...values, command: sent.id })}`);
  };
  return html`
    <${Heading} title=${query.agent ? `Agent ${query.agent}` : "Decisions of an agent"}>
      <a href=${`/device${format.path(fleet, name)}`}>${name}</a>
    <//>
    ${may("operator")
      ? html`<${Form} label="Ask the device" submit=${submit} kind="line">
          <${Field} label="Population">
            <select name="population">
              ${populations.map((one) => html`<option key=${one} value=${one} selected=${one === population}>${one}</option>`)}
            </select>
          <//>
          <${Field} label="Agent" name="agent" defaultValue=${query.agent || `${population}-0`} required maxlength="200" />
          <${Field} label="Ask for">
            <select name="ask">
              ${Object.entries(QUESTIONS).map(([key, text]) => html`<option key=${key} value=${key} selected=${key === query.ask}>${text}</option>`)}
            </select>
          <//>
          <${Field} label="Steps" name="last" type="number" min="1" max="100" defaultValue=${query.last || 50} required />
        <//>`
      : !query.command && html`<${Empty}>An operator can ask the device for an agent's decisions.<//>`}
    ${query.agent && html`<section><h2>Over time</h2>
      <${AgentSeries} key=${`${population}/${query.agent}`} path=${`/devices${format.path(fleet, name)}`} device=${device}
        population=${population} agent=${query.agent} query=${query} />
    </section>`}
    ${query.command && html`<${Answers} key=${query.command} id=${query.command} shown=${SHOWN[query.ask] || Steps} />`}
  `;
}

function Counters({ result }) {
  const nats = (value) => (value === null ? "" : `${format.number(value)} nat`);
  const milliseconds = (value) => (value === null ? "" : `${format.number(value)} ms`);
  return html`<${Facts}
    facts=${[
      ["Watched for", format.span(result.seconds)],
      ["Steps", format.whole(result.steps)],
      ["Decisions within ticks", format.whole(result.decisions)],
      ["Contradictions", result.contradictions === null ? "" : format.whole(result.contradictions)],
      ["Free energy, mean", nats(result.free_energy_mean)],
      ["Free energy, largest", nats(result.free_energy_max)],
      ["From reading to decision, mean", milliseconds(result.latency_mean_ms)],
      ["From reading to decision, largest", milliseconds(result.latency_max_ms)],
    ]}
  />`;
}

function Steps({ result }) {
  const steps = result.tick.map((tick, n) => ({
    tick,
    t: result.time[n],
    observed: result.observation[n],
    acted: result.action[n],
    energy: result.free_energy[n],
  }));
  if (!steps.length) {
    return html`<${Empty}>The device has no history of this agent. Give it memory with <code>history_kb</code>.<//>`;
  }
  const columns = [
    ["Tick", (row) => format.whole(row.tick), "figure"],
    ["Time", (row) => html`<time>${format.absolute(row.t)}</time>`],
    ...result.modalities.map((modality, m) => [`Observed: ${modality}`, (row) => row.observed[m]]),
    ...result.controls.map((control, c) => [`Did: ${control}`, (row) => (row.acted[c] === null ? "–" : String(row.acted[c]))]),
    ["Free energy", (row) => `${format.number(row.energy)} nat`, "figure"],
  ];
  return html`
    <${Plot} label="Free energy" times=${steps.map((step) => step.t)} values=${steps.map((step) => step.energy)}
      unit=${(value) => `${format.number(value)} nat`} />
    <${Table} caption="Steps, the last one first" columns=${columns} rows=${[...steps].reverse()} id=${(row) => row.tick} />
  `;
}
