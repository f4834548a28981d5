/** Checks of a token's claims (RFC 7519 section 4.1), in a fixed order, with the time as an argument. */

import { ClaimError, ConfigError, ExpiredToken, ImmatureToken, MissingClaim } from "../errors.js";
import { strip } from "./characters.js";
import { MAX_NAME, isName } from "./names.js";
import { printable } from "./printable.js";
import { isObject } from "./strict_json.js";

export type Claims = Record<string, unknown>;

/** The year 9999; a larger NumericDate is a mistake or an attack. */
export const LAST_SECOND = 253_402_300_799;
const TIMES = ["exp", "nbf", "iat"];
const NAMES = ["iss", "sub", "jti", "sid"];
/** Claims by which issuers tell their tokens apart; none is registered, each is common. */
const KINDS = ["type", "token_type", "token_use", "typ"];
const NOT_FOR_ACCESS = new Set(["refresh", "refresh_token", "offline", "id", "id_token"]);
/** The member of `events` that makes a token a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4). */
const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";

type ExactValue = string | number | boolean;
/** Claims, each with the value that it must have, or with several; null among several means that it may be missing. */
export type ExactClaims = Readonly<Record<string, ExactValue | readonly (ExactValue | null)[]>>;

/** What a verifier expects of the claims. */
export interface ExpectedOptions {
  issuers: readonly string[];
  audiences: readonly string[];
  leeway: number;
  require: readonly string[];
  maxLifetime: number | null;
  maxAge: number | null;
  claims: ReadonlyMap<string, readonly (ExactValue | null)[]>;
}

/** Judges claims against what a verifier expects. */
export class Expected {
  /** @throws {ConfigError} a negative or infinite number of seconds, or a value of a wrong type. */
  constructor(readonly options: ExpectedOptions) {
    for (const name of ["leeway", "maxLifetime", "maxAge"] as const) {
      const value: unknown = options[name];
      if (value !== null && !(typeof value === "number" && Number.isFinite(value) && value >= 0)) {
        throw new ConfigError(`${name} takes seconds, 0 or more, not ${printable(value)}`);
      }
    }
  }

  /**
   * Judge the claims of a token whose signature is verified.
   *
   * @param claims the payload in standard form.
   * @param now seconds since the epoch.
   * @param original the payload, if it is not in standard form: the values of further claims are those in it.
   * @throws {ClaimError} the first check that fails.
   */
  check(claims: Claims, now: number, original: Claims = claims): void {
    checkTypes(claims);
    for (const name of this.options.require) {
      if (!Object.hasOwn(claims, name)) throw new MissingClaim(name, `claim ${name} is missing`);
    }
    this.#checkTimes(claims, now);
    this.#checkBounds(claims, now);
    this.#checkIssuer(claims);
    this.checkAudience(get(claims, "aud"));
    this.#checkValues(original);
  }

  /** Judge `exp` and `iss` of a document that is not a token. */
  checkDocument(members: Claims, now: number): void {
    checkTypes({ ...members, aud: "" });
    if (!Object.hasOwn(members, "exp")) throw new MissingClaim("exp", "claim exp is missing");
    this.#checkTimes(members, now);
    this.#checkIssuer(members);
  }

  #checkTimes(claims: Claims, now: number): void {
    const { leeway } = this.options;
    const [expires, notBefore, issued] = TIMES.map((name) => get(claims, name) as number | undefined);
    // Written as "not within", so that a clock that reads NaN refuses everything.
    if (notBefore !== undefined && !(now >= notBefore - leeway)) {
      throw new ImmatureToken("nbf", `valid in ${Math.round(notBefore - now)} s, leeway ${leeway} s`, {
        facts: { date: notBefore },
      });
    }
    if (expires === undefined) return;
    if (!(now <= expires + leeway)) {
      throw new ExpiredToken("exp", `expired ${Math.round(now - expires)} s ago, leeway ${leeway} s`, {
        facts: { expired_at: expires },
      });
    }
    if (issued !== undefined && expires < issued) throw new ClaimError("exp", "exp is before iat");
  }

  #checkBounds(claims: Claims, now: number): void {
    const { leeway, maxAge, maxLifetime } = this.options;
    if (maxAge === null && maxLifetime === null) return;
    const issued = get(claims, "iat") as number | undefined;
    if (issued === undefined) throw new MissingClaim("iat", "claim iat is missing, and a lifetime or age is bounded");
    if (maxAge !== null) {
      if (issued > now + leeway) throw new ClaimError("iat", `issued in ${Math.round(issued - now)} s`);
      if (now > issued + maxAge + leeway) {
        const detail = `issued ${Math.round(now - issued)} s ago, at most ${maxAge} s`;
        throw new ExpiredToken("iat", detail, { message: "maxAge exceeded" });
      }
    }
    if (maxLifetime !== null) {
      const expires = get(claims, "exp") as number | undefined;
      if (expires === undefined) throw new MissingClaim("exp", "claim exp is missing, and maxLifetime is set");
      const lifetime = Math.max(expires - issued, expires - now - leeway);
      if (lifetime > maxLifetime) throw new ClaimError("exp", `a lifetime of ${lifetime} s, at most ${maxLifetime} s`);
    }
  }

  #checkIssuer(claims: Claims): void {
    const { issuers } = this.options;
    const issuer = get(claims, "iss");
    if (issuers.length === 0 || issuers.includes(issuer as string)) return;
    const expected = issuers.join(" or ");
    const message = `jwt issuer invalid. expected: ${expected}`;
    throw new ClaimError("iss", `iss is ${printable(issuer)}, expected ${expected}`, { message });
  }

  /** Judge the value of `aud`; undefined if it is missing. */
  checkAudience(audience: unknown): void {
    const { audiences } = this.options;
    if (audience === undefined && audiences.length === 0) return;
    const named: unknown[] = Array.isArray(audience) ? audience : [audience];
    if (audience !== undefined && named.some((name) => audiences.includes(name as string))) return;
    const expected = audiences.join(" or ") || "none";
    const message = `jwt audience invalid. expected: ${expected}`;
    throw new ClaimError("aud", `aud is ${printable(audience)}, expected ${expected}`, { message });
  }

  #checkValues(claims: Claims): void {
    const wanted = this.options.claims;
    for (const [name, values] of wanted) {
      const found = get(claims, name);
      if (!values.some((value) => isSame(found, value))) {
        throw new ClaimError(name, `${name} is ${printable(found)}, expected ${values.map(printable).join(" or ")}`);
      }
    }
    for (const name of KINDS) {
      const kind = get(claims, name);
      if (typeof kind === "string" && NOT_FOR_ACCESS.has(kind.toLowerCase()) && !wanted.has(name)) {
        throw new ClaimError(name, `${name} is ${printable(kind)}: not an access token`);
      }
    }
    const events = get(claims, "events");
    if (isObject(events) && Object.hasOwn(events, LOGOUT_EVENT)) {
      throw new ClaimError("events", "a logout token, not an access token");
    }
  }
}

/**
 * The setting `claims`, with the accepted values of each claim.
 *
 * @throws {ConfigError} not an object of values, or a list without a value.
 */
export function exactClaims(claims: unknown): ReadonlyMap<string, readonly (ExactValue | null)[]> {
  if (!isObject(claims)) throw new ConfigError('claims must be an object, such as { token_type: "access" }');
  const accepted = new Map<string, readonly (ExactValue | null)[]>();
  for (const [name, wanted] of Object.entries(claims)) {
    const values: unknown[] = Array.isArray(wanted) ? wanted : [wanted];
    const named = values.filter((value) => value !== null);
    if (named.length === 0 || !named.every(isExact)) {
      throw new ConfigError(`claims requires a string, an integer or a boolean for ${printable(name)}, or a list of them`);
    }
    accepted.set(name, values as (ExactValue | null)[]);
  }
  return accepted;
}

function isExact(value: unknown): boolean {
  return typeof value === "string" || typeof value === "boolean" || Number.isInteger(value);
}

function isSame(found: unknown, wanted: ExactValue | null): boolean {
  if (wanted === null) return found === undefined || found === null;
  return found === wanted && (typeof wanted !== "number" || Number.isSafeInteger(found));
}

/** An own member, or undefined: a claim that is missing is never one that every object inherits. */
export function get(claims: Claims, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : undefined;
}

/** Registered claims have the types that RFC 7519 gives them: a number is not a name, a string is not a time. */
export function checkTypes(claims: Claims): void {
  for (const name of TIMES) {
    const value = get(claims, name);
    if (value === undefined) continue;
    if (typeof value !== "number" || !(value > 0 && value <= LAST_SECOND)) {
      throw new ClaimError(name, `${name} is ${printable(value)}, not seconds since 1970`);
    }
  }
  for (const name of NAMES) if (Object.hasOwn(claims, name)) checkName(name, claims[name]);
  const audience = get(claims, "aud");
  const isList = Array.isArray(audience) && audience.every((name) => typeof name === "string");
  if (audience !== undefined && typeof audience !== "string" && !isList) {
    throw new ClaimError("aud", `aud is ${printable(audience)}, not a string or a list of strings`);
  }
}

/** @throws {ClaimError} the value is not a name. */
export function checkName(claim: string, value: unknown): void {
  if (!isName(value)) throw new ClaimError(claim, `${claim} is ${printable(value)}, not a name of 1 to ${MAX_NAME} characters`);
}

/**
 * A setting that takes one name or several.
 *
 * @throws {ConfigError} not strings, an empty one, or one with white space or a line break around it, which no token has.
 */
export function oneOrMore(value: unknown, what: string): readonly string[] {
  if (value === undefined || value === null) return [];
  const names: unknown[] = typeof value === "string" ? [value] : Array.isArray(value) ? value : [];
  if (names.length === 0 || !names.every((name) => typeof name === "string" && name !== "")) {
    throw new ConfigError(`${what} takes a string or a list of strings`);
  }
  for (const name of names as string[]) {
    if (strip(name) !== name) throw new ConfigError(`${what} begins or ends with white space or a line break; remove it`);
  }
  return names as string[];
}
