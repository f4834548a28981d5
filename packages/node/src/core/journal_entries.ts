/**
 * The entries of a journal in Redis: a JSON object in ASCII, and the first 16 bytes of an HMAC-SHA256 over the key of the
 * stream, a zero byte and that text. `roomkey.bus.journal_entries` in Python writes them, and has the same verdicts.
 */

import { createHmac, timingSafeEqual } from "node:crypto";

import { ConfigError } from "../errors.js";
import { isName } from "./names.js";
import { type Version, isVersion } from "./rights_overrides.js";
import { isObject } from "./strict_json.js";
import { checkSecret } from "./weak_keys.js";

const MAX_ENTRY = 512 * 1024;
const MAC_BYTES = 16;
const MAX_SECRETS = 2;
const KINDS = new Set(["token", "session", "subject", "rights", "disconnect"]);

/** An entry of the journal, with the names that the journal over HTTP has. */
export interface JournalEntry {
  kind: string;
  name: string;
  issuer: string | null;
  issued_before: number;
  expires_at: number | null;
  rights?: Record<string, unknown>;
  version?: Version;
}

/** Why an entry must not be applied. */
export type Dropped = "not signed" | "too large" | "bad signature" | "malformed" | "unknown kind";

/** Checks the entries of one journal. */
export class EntryFormat {
  readonly #keys: readonly Buffer[];
  readonly #prefix: string;

  /**
   * @param secrets of the cluster: one, or two while the secret is being rotated.
   * @param key the key of the stream.
   * @throws {ConfigError} none or more than two, or one that is short or easy to guess.
   */
  constructor(secrets: readonly (string | Uint8Array)[], key: string) {
    if (!Array.isArray(secrets) || secrets.length < 1 || secrets.length > MAX_SECRETS) {
      throw new ConfigError("a cluster must have one secret, or two while the secret is being rotated; write secrets: [secret]");
    }
    this.#keys = secrets.map((secret) => {
      if (typeof secret !== "string" && !(secret instanceof Uint8Array)) throw new ConfigError("a cluster secret must be text or bytes");
      const raw = Buffer.from(secret as string);
      checkSecret(raw, "HS256", true);
      return createHmac("sha256", raw).update("roomkey cluster journal").digest();
    });
    this.#prefix = `${key}\0`;
  }

  /** What an entry says, or why it must not be applied. */
  check(fields: ReadonlyMap<string, string>): JournalEntry | Dropped {
    const [text, mac] = [fields.get("e"), fields.get("m")];
    if (text === undefined || mac === undefined) return "not signed";
    if (text.length > MAX_ENTRY) return "too large";
    if (!this.#keys.some((key) => this.#isSigned(key, text, mac))) return "bad signature";
    try {
      return entryOf(JSON.parse(text));
    } catch {
      return "malformed";
    }
  }

  #isSigned(key: Buffer, text: string, mac: string): boolean {
    const expected = createHmac("sha256", key).update(this.#prefix).update(text).digest().subarray(0, MAC_BYTES);
    const [wanted, given] = [Buffer.from(expected.toString("base64url")), Buffer.from(mac)];
    return wanted.length === given.length && timingSafeEqual(wanted, given);
  }
}

function entryOf(content: unknown): JournalEntry | Dropped {
  if (!isObject(content) || content.v === undefined || content.kind === undefined) return "malformed";
  const { kind, name, issuer, before, expires, rights, version } = content;
  if (content.v !== 1 || !KINDS.has(kind as string)) return "unknown kind";
  if (!isName(name) || !(issuer === null || typeof issuer === "string")) return "malformed";
  if (!isFinite(before) || !(expires === null || isFinite(expires))) return "malformed";
  const entry = { kind: kind as string, name, issuer, issued_before: before, expires_at: expires };
  if (kind !== "rights") return entry;
  if (!isVersion(version) || !isObject(rights)) return "malformed";
  const known = rightsOf(rights);
  return known === null ? "malformed" : { ...entry, rights: known, version };
}

function isFinite(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function rightsOf(rights: Record<string, unknown>): Record<string, unknown> | null {
  const known = Object.fromEntries(["roles", "rooms"].filter((name) => Object.hasOwn(rights, name)).map((name) => [name, rights[name]]));
  const { roles = [], rooms = [] } = known;
  const lists: unknown[] = [roles, ...(isObject(rooms) ? Object.values(rooms) : [rooms])];
  const isList = (value: unknown): boolean => Array.isArray(value) && value.every((each) => typeof each === "string");
  return Object.keys(known).length > 0 && lists.every(isList) ? known : null;
}
