// Requests to the REST interface, and who is logged in. Every answer that is no success becomes a Problem.

const ROLES = ["viewer", "operator", "admin"];
const SKEW_MS = 3000;
let session = null;
let onSession = () => {};
let ahead = 0;

/** An answer that is no success: a problem document (RFC 9457), or no answer at all (status 0). */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Return the time in Unix seconds by the hub's clock, which also says when devices were heard. */
export const now = () => (Date.now() + ahead) / 1000;

/** Call `listener` when somebody logs in or out. */
export function watchSession(listener) {
  onSession = listener;
}

export function setSession(found) {
  session = found;
  onSession(found);
}

/** Whether who is logged in has `role` or more. The hub checks each request itself: this hides what it refuses. */
export function may(role) {
  return session !== null && ROLES.indexOf(session.role) >= ROLES.indexOf(role);
}

export const get = (path) => request("GET", path);
export const post = (path, body) => request("POST", path, body);
export const put = (path, body) => request("PUT", path, body);
export const patch = (path, body) => request("PATCH", path, body);
export const remove = (path) => request("DELETE", path);

/** POST once, even if the request is sent twice. */
export function postOnce(path, body) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0"));
  return request("POST", path, body, { "Idempotency-Key": key.join("") });
}

/**
 * Return the answer's JSON, or null if it has no body.
 * @param {string} method
 * @param {string} path below /api/v1
 * @param {object | Blob} [body] sent as JSON; a Blob is sent as it is
 */
export async function request(method, path, body, more = {}) {
  const headers = { ...more };
  if (session !== null && method !== "GET") headers["X-CSRF-Token"] = session.csrf;
  let sent;
  if (body instanceof Blob) {
    sent = body;
    headers["Content-Type"] = "application/octet-stream";
  } else if (body !== undefined) {
    sent = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, { method, headers, body: sent, credentials: "same-origin" });
  } catch {
    throw new Problem(0, "The hub does not answer.");
  }
  const date = Date.parse(answer.headers.get("date"));
  if (date) ahead = Math.abs(date - Date.now()) < SKEW_MS ? 0 : date - Date.now();
  if (answer.ok) return answer.status === 204 ? null : parsed(await answer.text());
  const found = parsed(await answer.text());
  if (answer.status === 401 && session !== null) setSession(null);
  const more_ = found?.errors?.length ? ` (${found.errors.join("; ")})` : "";
  throw new Problem(answer.status, (found?.detail || `The hub answered ${answer.status}.`) + more_);
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}
