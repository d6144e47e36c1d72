// The series of one agent that the device sends by itself ([[telemetry]] of its configuration).

import { html, useState } from "/web/vendor/preact-htm.js";
import * as format from "/web/format.js";
import { go, useLoaded } from "/web/hooks.js";
import { Plot } from "/web/plot.js";
import { RANGES, begin } from "/web/ranges.js";
import { Empty, Trouble } from "/web/widgets.js";

const POINTS = 1000;
const KINDS = { reading: "Reading", belief: "Probability", action: "Action", figure: "Figure" };
const UNITS = { free_energy: " nat" };

/** One plot per series: a sample is a point, and a pause much longer than usual is a gap. */
export function AgentSeries({ path, device, population, agent, query }) {
  const range = query.range in RANGES ? query.range : "1 h";
  const [since, setSince] = useState(() => begin(range));
  const mine = (rows) => rows.some((row) => row.id === device.id);
  const address = agent ? `${path}/series${format.query({ since, points: POINTS, population, agent })}` : "";
  const { data, problem } = useLoaded(address, ["devices"], mine);
  const choose = (value) => {
    setSince(begin(value));
    go(`${location.pathname}${format.query({ ...query, range: value === "1 h" ? "" : value })}`, { replace: true });
  };
  const names = data ? Object.keys(data.values) : [];
  return html`
    <p class="actions">
      <label>Time${" "}
        <select onChange=${(event) => choose(event.target.value)}>
          ${Object.keys(RANGES).map((name) => html`<option key=${name} value=${name} selected=${name === range}>${name}</option>`)}
        </select>
      </label>
    </p>
    <${Trouble} problem=${problem} />
    ${data && !names.length && html`<${Empty}>The device sends no series of this agent in this time. Name some under${" "}
      <code>[[telemetry]]</code> in its configuration.<//>`}
    ${names.map((name) => html`<${One} key=${name} name=${name} times=${data.t} values=${data.values[name]} />`)}
  `;
}

function One({ name, times, values }) {
  const [kind, ...rest] = name.split("/");
  const title = rest.join("/");
  const [shownTimes, shownValues] = withGaps(times, values);
  const unit = kind === "belief" ? format.percent : (value) => `${format.number(value)}${UNITS[title] || ""}`;
  return html`<${Plot} label=${`${KINDS[kind] || kind}: ${title}`} times=${shownTimes} values=${shownValues} unit=${unit} />`;
}

/** Return the samples that are there, with null in each pause that is longer than three usual ones. */
export function withGaps(times, values) {
  const points = times.map((t, n) => [t, values[n]]).filter(([, value]) => value !== null);
  const pauses = points.slice(1).map(([t], n) => t - points[n][0]).sort((a, b) => a - b);
  const usual = pauses[Math.floor(pauses.length / 2)] || 0;
  const shown = [];
  for (const [t, value] of points) {
    const last = shown[shown.length - 1];
    if (last && usual && t - last[0] > 3 * usual) shown.push([last[0] + usual, null]);
    shown.push([t, value]);
  }
  return [shown.map(([t]) => t), shown.map(([, value]) => value)];
}
