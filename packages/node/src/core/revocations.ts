/** Revocations in memory. RFC 7009 defines the protocol for requesting them. */

import { ConfigError } from "../errors.js";
import type { Identity } from "./identity.js";
import { isName } from "./names.js";

/** Seconds that a token may live at most, where nothing else is known of it. */
export const LONGEST_LIFETIME = 366 * 86_400;
/** Seconds that a revocation outlives the tokens it is about: more than the leeway of any verifier. */
const MARGIN = 3600;
/** Entries in memory; beyond that, those that expire first are dropped. */
const MAX_REVOCATIONS = 1_000_000;
/** Seconds in which entries that expire are dropped together. */
const SLOT = 60;

export type Kind = "token" | "session" | "subject";

/** What to revoke: exactly one of `tokenId`, `sessionId` and `subject`. */
export interface RevokeOptions {
  /** The `jti` of one token. */
  tokenId?: string;
  /** The `sid` of one login session and all tokens refreshed from it. */
  sessionId?: string;
  /** Everything issued to this `sub` up to `issuedBefore`. */
  subject?: string;
  /** Only tokens of this `iss`. */
  issuer?: string;
  /** Seconds since the epoch, not in the future. Default: now. */
  issuedBefore?: number;
  /** The latest `exp` of the tokens it is about. Default: the longest lifetime from now. */
  expiresAt?: number;
}

/** One thing that is revoked; kept by its name and never by a token's text. */
export interface Revocation {
  kind: Kind;
  name: string;
  issuer: string | null;
  /** For a subject: tokens issued up to then are revoked, that whole second included. */
  issuedBefore: number;
  expiresAt: number;
}

/** @throws {ConfigError} none or several names, or `issuedBefore` in the future. */
export function revocationOf(options: RevokeOptions & { expiresAt: number }, now: number): Revocation {
  const named: [Kind, unknown][] = [
    ["token", options.tokenId],
    ["session", options.sessionId],
    ["subject", options.subject],
  ];
  const [first, ...others] = named.filter(([, name]) => name !== undefined && name !== null);
  if (!first || others.length > 0) throw new ConfigError("revoke requires exactly one of tokenId, sessionId and subject");
  const [kind, name] = first;
  if (typeof name !== "string") throw new ConfigError(`invalid ${kind}: it is a ${typeof name}; use a string, such as '7'`);
  if (!isName(name)) throw new ConfigError(`invalid ${kind}: use 1 to 255 characters, without control characters`);
  const { issuedBefore = now, expiresAt } = options;
  if (options.issuedBefore !== undefined && (kind !== "subject" || !(issuedBefore <= now))) {
    throw new ConfigError("issuedBefore requires subject, and must not be in the future");
  }
  if (typeof expiresAt !== "number" || Number.isNaN(expiresAt)) throw new ConfigError("expiresAt must be seconds since the epoch");
  return { kind, name, issuer: options.issuer ?? null, issuedBefore: kind === "subject" ? issuedBefore : 0, expiresAt };
}

/**
 * True for what a revocation of its subject ends. A token without `iat` counts as issued before the revocation, unless it
 * expires after `latest`, the latest `exp` of the revoked tokens.
 */
function isOlder(who: Identity, issuedBefore: number, latest: number): boolean {
  // Whole seconds: a token of the same second as the revocation is rejected.
  if (who.issuedAt !== null) return Math.floor(who.issuedAt) <= Math.floor(issuedBefore);
  return who.expiresAt === null || latest === Infinity || Math.floor(who.expiresAt) <= Math.floor(latest);
}

interface Entry {
  kind: Kind;
  key: string;
  issuedBefore: number;
  expiresAt: number;
}

/** Revoked tokens, login sessions and subjects: what every decision looks into. */
export class Revocations {
  readonly #known: Record<Kind, Map<string, Entry>> = { token: new Map(), session: new Map(), subject: new Map() };
  /** The entries by the minute in which they are forgotten. */
  readonly #slots = new Map<number, Set<Entry>>();
  #swept = 0;
  #size = 0;

  /** @param most entries in memory; beyond that, those that expire first are dropped. */
  constructor(private readonly most = MAX_REVOCATIONS) {}

  get size(): number {
    return this.#size;
  }

  /** Revoke; what cannot match any token any more is forgotten. */
  add({ kind, name, issuer, issuedBefore, expiresAt }: Revocation, now: number): void {
    this.#forgetExpired(now);
    const key = keyOf(name, issuer);
    const before = this.#known[kind].get(key);
    if (before) this.#drop(before);
    const entry = {
      kind,
      key,
      issuedBefore: Math.max(issuedBefore, before?.issuedBefore ?? 0),
      expiresAt: Math.max(expiresAt, before?.expiresAt ?? 0),
    };
    const slot = slotOf(entry);
    const slots = this.#slots.get(slot) ?? new Set();
    this.#slots.set(slot, slots.add(entry));
    this.#known[kind].set(key, entry);
    this.#size += 1;
    while (this.#size > this.most) this.#empty([...this.#slots.keys()].reduce((first, slot) => Math.min(first, slot)));
  }

  /** True if the identity's token, its login session or its subject was revoked. */
  isRevoked(who: Identity): boolean {
    if (this.#size === 0) return false;
    return (
      this.#find("token", who.tokenId, who).length > 0 ||
      this.#find("session", who.sessionId, who).length > 0 ||
      this.#find("subject", who.subject, who).some((known) => isOlder(who, known.issuedBefore, known.expiresAt))
    );
  }

  #find(kind: Kind, name: string | null, who: Identity): Entry[] {
    const known = this.#known[kind];
    if (name === null || name === "" || known.size === 0) return [];
    return [known.get(keyOf(name, who.issuer)), known.get(keyOf(name, null))].filter((entry) => entry !== undefined);
  }

  #forgetExpired(now: number): void {
    if (now < this.#swept + SLOT) return;
    this.#swept = now;
    for (const slot of [...this.#slots.keys()]) if ((slot + 1) * SLOT <= now) this.#empty(slot);
  }

  #empty(slot: number): void {
    for (const entry of this.#slots.get(slot) ?? []) this.#drop(entry);
  }

  #drop(entry: Entry): void {
    const slot = slotOf(entry);
    const entries = this.#slots.get(slot);
    entries?.delete(entry);
    if (entries?.size === 0) this.#slots.delete(slot);
    this.#known[entry.kind].delete(entry.key);
    this.#size -= 1;
  }
}

function slotOf({ expiresAt }: Entry): number {
  return Math.floor((expiresAt + MARGIN) / SLOT);
}

/** An issuer, or none for all issuers, and a name; names contain no control characters. */
function keyOf(name: string, issuer: string | null): string {
  return `${issuer ?? ""}\0${name}`;
}

/** True if a revocation names the token that an identity stands for, whenever it was issued. */
export function names(revoked: Revocation, who: Identity): boolean {
  if (revoked.issuer !== null && revoked.issuer !== who.issuer) return false;
  const name = { token: who.tokenId, session: who.sessionId, subject: who.subject }[revoked.kind];
  return name === revoked.name;
}
