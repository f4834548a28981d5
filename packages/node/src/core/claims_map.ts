/**
 * Where an issuer's tokens have the subject, the audience and the rights: the option `claimsMap`.
 *
 * Issuers name these differently: `realm_access.roles`, `cognito:groups`, `user_id`. The map brings the claims into
 * standard form (`sub`, `aud`, `roles`, …). The checks and the identity read that form, so that there is one set of rules
 * for every issuer.
 */

import { type ClaimError, ConfigError } from "../errors.js";
import { type Claims, get } from "./claims.js";
import { isName, names } from "./names.js";
import { printable } from "./printable.js";
import { isObject } from "./strict_json.js";

/**
 * A place in the claims. A name with `/` or `:` is the name of one claim, as issuers use URLs as names:
 * `https://example.com/roles`, `cognito:groups`. In other names, a dot leads into an object: `realm_access.roles`. A list
 * has the names one by one, whatever characters they contain: `["resource_access", "chat.example", "roles"]`.
 */
export type Place = string | readonly string[];

/** What a map can name, and the claim that has it by default. */
const STANDARD = {
  subject: "sub",
  audience: "aud",
  session: "sid",
  roles: "roles",
  role: "role",
  rooms: "rooms",
  scopes: "scope",
} as const;

/** Where the tokens have what {@link Identity} says. If the map names `roles` or `role`, roles come only from there. */
export type ClaimsMapOption = Readonly<Partial<Record<keyof typeof STANDARD, Place>>>;

// These claims have a meaning that no issuer changes. A subject read from one of them would not identify a user.
const FIXED = new Set(["exp", "nbf", "iat", "iss", "jti"]);
const NOT_SUBJECTS = new Set([...FIXED, "aud", "sid", "roles", "rooms", "scope"]);

// An error about roles or rooms is about their value in the token.
const CHECKED = new Set(["sub", "aud", "sid", "scope"]);

/** Brings the claims of one issuer into standard form. */
export class ClaimsMap {
  /** True if the audience is not in `aud`. */
  readonly movesAudience: boolean;
  readonly #paths = new Map<string, readonly string[]>();
  readonly #replaced: Set<string>;
  readonly #integerSubject: boolean;

  /** @throws {ConfigError} an unknown name, or an invalid place. */
  constructor(places: ClaimsMapOption, integerSubject: boolean) {
    for (const [name, place] of Object.entries(places)) {
      if (!Object.hasOwn(STANDARD, name)) {
        throw new ConfigError(`claimsMap: unknown name ${printable(name)}; use ${Object.keys(STANDARD).join(", ")}`);
      }
      const claim = STANDARD[name as keyof typeof STANDARD];
      const path = pathOf(place);
      if (path.length === 1 && (claim === "sub" ? NOT_SUBJECTS : FIXED).has(path[0]!)) {
        throw new ConfigError(`claimsMap: the claim ${printable(path[0])} has a meaning of its own; name another claim`);
      }
      this.#paths.set(claim, path);
    }
    this.#replaced = new Set(this.#paths.keys());
    if (this.#replaced.has("roles") || this.#replaced.has("role")) this.#replaced.add("roles").add("role");
    this.#integerSubject = integerSubject;
    this.movesAudience = this.#moved("aud") !== null;
  }

  /** Return the claims in standard form; `claims` does not change. What the map names is at its place, or is missing. */
  standard(claims: Claims): Claims {
    const standard: Claims = Object.fromEntries(Object.entries(claims).filter(([name]) => !this.#replaced.has(name)));
    for (const [claim, path] of this.#paths) {
      const value = at(claims, path);
      if (value !== undefined) standard[claim] = claim === "scope" ? scope(value) : value;
    }
    if (this.#integerSubject && Number.isSafeInteger(get(standard, "sub"))) standard.sub = String(standard.sub);
    return standard;
  }

  /** Add the place of a claim to the details of an error about it in standard form. */
  located(error: ClaimError): ClaimError {
    const path = this.#moved(error.claim);
    if (path !== null && CHECKED.has(error.claim)) error.detail += ` (claimsMap: ${path.join(".")})`;
    return error;
  }

  /** The place of a standard claim, or null if it is the claim itself. */
  #moved(claim: string): readonly string[] | null {
    const path = this.#paths.get(claim);
    return path === undefined || (path.length === 1 && path[0] === claim) ? null : path;
  }
}

/**
 * Return the map of a verifier, or null if its tokens are in standard form.
 *
 * @throws {ConfigError} an invalid map, or one with a place for an audience that is not set.
 */
export function mapOf(places: unknown, integerSubject: boolean, audiences: readonly string[]): ClaimsMap | null {
  if (!isObject(places)) throw new ConfigError('claimsMap must be an object, such as { subject: "user_id" }');
  if (Object.keys(places).length === 0 && !integerSubject) return null;
  const made = new ClaimsMap(places, integerSubject);
  if (made.movesAudience && audiences.length === 0) {
    throw new ConfigError("claimsMap has a place for the audience, but the audience is not set; pass audience");
  }
  return made;
}

function pathOf(place: unknown): readonly string[] {
  const path: unknown = typeof place === "string" ? (/[/:]/.test(place) ? [place] : place.split(".")) : place;
  if (!Array.isArray(path) || path.length === 0 || !path.every(isName)) {
    throw new ConfigError(
      `claimsMap: invalid place ${printable(place)}; use the name of a claim, such as "user_id" or "realm_access.roles", ` +
        "or a list of names",
    );
  }
  return path;
}

function at(claims: Claims, path: readonly string[]): unknown {
  let value: unknown = claims;
  for (const name of path) value = isObject(value) ? get(value, name) : undefined;
  return value;
}

/** Scopes as the claim `scope` has them (RFC 8693 section 4.2). Some issuers list them instead. */
function scope(value: unknown): unknown {
  const listed = names(value);
  return listed.length > 0 && !listed.some((name) => name.includes(" ")) ? listed.join(" ") : value;
}
