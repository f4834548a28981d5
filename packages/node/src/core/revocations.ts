/** What was revoked before its time, in memory (RFC 7009 is the protocol for asking). */

import { ConfigError } from "../errors.js";
import type { Identity } from "./identity.js";
import { isName } from "./names.js";

/** Seconds that a token may live at most, where nothing else is known of it. */
export const LONGEST_LIFETIME = 366 * 86_400;
/** Seconds that a revocation outlives the tokens it is about: more than the leeway of any verifier. */
const MARGIN = 3600;
/** Entries in memory; beyond that, those that were revoked first are forgotten. */
const MAX_REVOCATIONS = 1_000_000;

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
export function revocationOf(options: RevokeOptions, now: number, lifetime: number): Revocation {
  const named: [Kind, unknown][] = [
    ["token", options.tokenId],
    ["session", options.sessionId],
    ["subject", options.subject],
  ];
  const [first, ...others] = named.filter(([, name]) => name !== undefined && name !== null);
  if (!first || others.length > 0) throw new ConfigError("revoke takes exactly one of tokenId, sessionId and subject");
  const [kind, name] = first;
  if (!isName(name)) throw new ConfigError(`invalid ${kind}; use a string of 1 to 255 characters`);
  const { issuedBefore = now, expiresAt = now + lifetime } = options;
  if (options.issuedBefore !== undefined && (kind !== "subject" || !(issuedBefore <= now))) {
    throw new ConfigError("issuedBefore goes with subject, and is never in the future");
  }
  if (typeof expiresAt !== "number" || Number.isNaN(expiresAt)) throw new ConfigError("expiresAt takes seconds since the epoch");
  return { kind, name, issuer: options.issuer ?? null, issuedBefore: kind === "subject" ? issuedBefore : 0, expiresAt };
}

/** True for what a revocation of its subject ends. A token without `iat` counts as issued before the revocation. */
function isOlder(who: Identity, issuedBefore: number): boolean {
  // Whole seconds: a token of the same second as the revocation is rejected.
  return who.issuedAt === null || Math.floor(who.issuedAt) <= Math.floor(issuedBefore);
}

/** Revoked tokens, login sessions and subjects: what every decision looks into. */
export class Revocations {
  readonly #known = new Map<string, Revocation>();

  get size(): number {
    return this.#known.size;
  }

  /** Revoke; what cannot match any token any more is forgotten. */
  add(revoked: Revocation, now: number): void {
    const key = keyOf(revoked.kind, revoked.name, revoked.issuer);
    const before = this.#known.get(key);
    const issuedBefore = Math.max(revoked.issuedBefore, before?.issuedBefore ?? 0);
    this.#known.delete(key); // the latest is the last
    this.#known.set(key, { ...revoked, issuedBefore, expiresAt: Math.max(revoked.expiresAt, before?.expiresAt ?? 0) });
    for (const [oldest, known] of this.#known) {
      if (known.expiresAt + MARGIN > now && this.#known.size <= MAX_REVOCATIONS) break;
      this.#known.delete(oldest);
    }
  }

  /** True if the identity's token, its login session or its subject was revoked. */
  isRevoked(who: Identity): boolean {
    if (this.#known.size === 0) return false;
    return (
      this.#find("token", who.tokenId, who).length > 0 ||
      this.#find("session", who.sessionId, who).length > 0 ||
      this.#find("subject", who.subject, who).some((known) => isOlder(who, known.issuedBefore))
    );
  }

  #find(kind: Kind, name: string | null, who: Identity): Revocation[] {
    if (name === null || name === "") return [];
    const found = [this.#known.get(keyOf(kind, name, who.issuer)), this.#known.get(keyOf(kind, name, null))];
    return found.filter((known) => known !== undefined);
  }
}

function keyOf(kind: Kind, name: string, issuer: string | null): string {
  return JSON.stringify([kind, name, issuer]);
}

/** True if a revocation names the token that an identity stands for, whenever it was issued. */
export function names(revoked: Revocation, who: Identity): boolean {
  if (revoked.issuer !== null && revoked.issuer !== who.issuer) return false;
  const name = { token: who.tokenId, session: who.sessionId, subject: who.subject }[revoked.kind];
  return name === revoked.name;
}
