/**
 * The audit log: one structured line for each decision, without secrets. Each is one JSON object in ASCII, so that values
 * from clients cannot break the line or move the cursor. A token is named by its `jti`, else by eight characters of its
 * hash.
 */

import { createHash } from "node:crypto";

import { attempt, ignore } from "../core/calls.js";

const MAX_VALUE = 200;
// What begins as the JSON of a header does in base64url, and whatever else has a token's three parts.
const TOKEN = /(?:eyJ|ZXlK)[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_=-]*)*|(?<![\w-])[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}/g;
const SID = /(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*[0-9A-Z])[A-Za-z0-9_-]{20}(?![A-Za-z0-9_-])/g;

export type WriteLine = (line: string) => void;

/** The parts of a socket that every line about it names. */
export interface Audited {
  readonly namespace: string;
  readonly tokenName: string | null;
}

/** Write one line; facts that are null are left out, long text is cut. */
export function record(write: WriteLine | null, event: string, facts: Record<string, unknown>): void {
  if (write === null) return;
  const line: Record<string, unknown> = { event };
  for (const [name, value] of Object.entries(facts)) if (value !== null && value !== undefined) line[name] = bounded(value);
  attempt(() => write(asAscii(JSON.stringify(line))), ignore); // a log that fails must not keep a socket alive
}

/** The first 8 characters of a token's SHA-256. */
export function tokenHash(token: string): string {
  return createHash("sha256").update(token).digest("hex").slice(0, 8);
}

/** Take tokens and socket IDs out of a text. */
export function withoutSecrets(text: string): string {
  return text.replace(TOKEN, "…").replace(SID, "…");
}

function bounded(value: unknown): unknown {
  if (typeof value !== "string") return value;
  return value.length <= MAX_VALUE ? value : `${value.slice(0, MAX_VALUE)}…`;
}

function asAscii(json: string): string {
  return json.replace(/[^ -~]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
