// Series over time, drawn by uPlot, in the colours of the style sheet.

import { html, useEffect, useRef } from "/web/vendor/preact-htm.js";
import * as format from "/web/format.js";

const HEIGHT = 220;
let library = null;

async function load() {
  if (library === null) {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = "/web/vendor/uplot.css";
    document.head.append(sheet);
    library = (await import("/web/vendor/uplot.js")).default;
  }
  return library;
}

/**
 * A plot of `values` (a number or null for each of `times`, Unix seconds).
 * `unit` writes a value. Dragging zooms, a double click shows all again.
 */
export function Plot({ label, times, values, unit = format.number }) {
  const box = useRef(null);
  const plot = useRef(null);
  const latest = useRef([times, values]);
  latest.current = [times, values];
  useEffect(() => {
    let current = true;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    load().then((Library) => {
      if (!current) return;
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
      plot.current = new Library(
        {
          width: box.current.clientWidth || 600,
          height: HEIGHT,
          legend: { live: false, show: false },
          axes: [axis, { ...axis, size: 80, values: (_, ticks) => ticks.map((tick) => unit(tick)) }],
          series: [{}, { label, stroke: colour("--accent"), width: 2, spanGaps: false, points: { show: false } }],
        },
        latest.current,
        box.current,
      );
    });
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    observer.observe(box.current);
    return () => {
      current = false;
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [label]);
  useEffect(() => plot.current?.setData([times, values]), [times, values]);
  const known = values.filter((value) => value !== null);
  const summary = known.length
    ? `least ${unit(Math.min(...known))}, most ${unit(Math.max(...known))}, last ${unit(known[known.length - 1])}`
    : "no values";
  return html`<figure class="plot">
    <figcaption><strong>${label}</strong> <small>${summary}</small></figcaption>
    <div ref=${box} role="img" aria-label=${`${label}: ${summary}`}></div>
  </figure>`;
}
