// Releases signed in the browser: Ed25519 by WebCrypto. The secret key is read from a file that somebody chooses,
// stays in this page's memory while it signs, and is sent nowhere and kept nowhere.
//
// The document is what `edge-hub sign` makes: canonical JSON (sorted keys, no blanks, ASCII), signed as
// "edge-agent release 1" NUL document. The configuration of a new population is not released here: it is to be
// read from the file of who made it (`edge-hub sign --new`), not from the hub.

const PURPOSE = "edge-agent release 1\0";
const SECRET = /^edge-agent-secret-key ([A-Za-z0-9+/=]+)/;
// An Ed25519 private key as PKCS #8 (RFC 8410) is this and the 32 bytes of the seed.
const PKCS8 = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/** Whether this browser can sign here. */
export const canSign = () => isSecureContext && typeof crypto.subtle?.sign === "function";

/** Return {doc, signatures} of a release; `files` are key files (`edge-convert keygen`). */
export async function signedRelease(release, files) {
  const doc = canonical(release);
  const message = new TextEncoder().encode(PURPOSE + doc);
  const signatures = [];
  for (const file of files) {
    const key = await readKey(file);
    const signature = await crypto.subtle.sign("Ed25519", key.secret, message);
    signatures.push({ key: key.public, signature: hex(new Uint8Array(signature)) });
  }
  return { doc, signatures };
}

async function readKey(file) {
  const found = (await file.text()).match(SECRET);
  const seed = found ? Uint8Array.from(atob(found[1]), (char) => char.charCodeAt(0)) : new Uint8Array(0);
  if (seed.length !== 32) throw new Error(`${file.name}: not a secret key file, expected edge-agent-secret-key and 32 bytes`);
  const packed = new Uint8Array([...PKCS8, ...seed]);
  try {
    // WebCrypto gives the public half by an export alone, so the key is read twice: the one that signs can't be exported.
    const whole = await crypto.subtle.importKey("pkcs8", packed, "Ed25519", true, ["sign"]);
    const { x } = await crypto.subtle.exportKey("jwk", whole);
    const raw = Uint8Array.from(atob(x.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
    const secret = await crypto.subtle.importKey("pkcs8", packed, "Ed25519", false, ["sign"]);
    return { secret, public: hex(raw) };
  } finally {
    seed.fill(0);
    packed.fill(0);
  }
}

/** Return canonical JSON as Python's json.dumps(sort_keys=True, separators=(",", ":")) of ASCII keys. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const parts = Object.keys(value).sort().map((key) => `${canonical(key)}:${canonical(value[key])}`);
    return `{${parts.join(",")}}`;
  }
  const text = JSON.stringify(value);
  return text.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
