// How values are written: units on every figure, times relative with the absolute time beside them.

const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const whole = (value) => (value === null || value === undefined ? "–" : WHOLE.format(value));
export const number = (value) => (value === null || value === undefined ? "–" : NUMBER.format(value));
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (value >= size) return `${(value / size).toFixed(1)} ${unit}`;
  }
  return `${value} B`;
}

/** Return how long ago `t` was at `now` (Unix seconds). */
export function ago(t, now) {
  if (!t) return "never";
  const seconds = now - t;
  if (seconds < -60) return `in ${span(-seconds)}`;
  return seconds < 2 ? "now" : `${span(seconds)} ago`;
}

export function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

export function absolute(t) {
  return t ? new Date(1000 * t).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC") : "never";
}

export const short = (digest) => String(digest).slice(0, 12);
export const path = (...parts) => parts.map((part) => `/${encodeURIComponent(part)}`).join("");

/** Return an address's query; empty values are left out. */
export function query(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return text && `?${text}`;
}
