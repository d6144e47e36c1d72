// The stretches of time that a plot can show.

import { now } from "/web/api.js";

export const RANGES = { "15 min": 900, "1 h": 3600, "6 h": 6 * 3600, "24 h": 86_400, "7 d": 7 * 86_400, all: 0 };

/** Return when a range begins, Unix seconds. */
export const begin = (range) => (RANGES[range] ? Math.floor(now() - RANGES[range]) : 0);
