/** What other servers answer, without I/O: key sets (RFC 7517), discovery documents (OpenID Connect Discovery 1.0). */

import { KeySet } from "../core/key_set.js";
import type { Key } from "../core/keys.js";
import { printable } from "../core/printable.js";
import { isObject, loads } from "../core/strict_json.js";
import { isEndpoint } from "../core/urls.js";
import { ConfigError } from "../errors.js";

/** The longest accepted answer, in bytes. */
export const MAX_BYTES = 262_144;
/** The number of keys that a key set may have. */
export const MAX_KEYS = 100;

/** An answer that is not what it must be. The text is for the operator's log. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

/** The part of a discovery document that a verifier needs. */
export interface Discovered {
  /** The URL of the keys. */
  jwksUri: string;
  /** The algorithms that the provider says it signs with; null if it does not say. */
  algorithms: readonly string[] | null;
}

/** @throws {AnswerError} not a JSON object. */
export function parseObject(body: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = loads(body);
  } catch {
    throw new AnswerError("not JSON");
  }
  if (!isObject(value)) throw new AnswerError("not a JSON object");
  return value;
}

/**
 * Parse the discovery document of an issuer.
 *
 * @throws {AnswerError} not such a document, or that of another issuer (section 4.3).
 */
export function parseDiscovery(body: Uint8Array, issuer: string): Discovered {
  const members = parseObject(body);
  const member = (name: string): unknown => (Object.hasOwn(members, name) ? members[name] : undefined);
  if (member("issuer") !== issuer) {
    const named = printable(member("issuer"));
    throw new AnswerError(`the discovery document is that of the issuer ${named}; configure exactly this issuer`);
  }
  const uri = member("jwks_uri");
  if (!isEndpoint(uri, issuer)) throw new AnswerError(`jwks_uri is ${printable(uri)}, not an https:// URL`);
  const offered = member("id_token_signing_alg_values_supported");
  const names = Array.isArray(offered) ? offered.filter((name) => typeof name === "string") : [];
  return { jwksUri: uri, algorithms: names.length > 0 ? names : null };
}

/**
 * Parse a key set. Keys that the verifier cannot use are left out, and listed in `refused`.
 *
 * @param algorithms the algorithms that the verifier accepts.
 * @param offered the algorithms that the discovery document names, which limit keys without `alg`. They never add one.
 * @throws {AnswerError} not a key set, too many keys, or no usable key.
 */
export function parseKeySet(body: Uint8Array, algorithms: readonly string[], offered: readonly string[] | null = null): KeySet {
  const members = parseObject(body);
  const listed = Object.hasOwn(members, "keys") ? members.keys : undefined;
  if (!Array.isArray(listed)) throw new AnswerError('not a JWK Set: it has no list "keys"');
  if (listed.length > MAX_KEYS) throw new AnswerError(`${listed.length} keys, at most ${MAX_KEYS}`);
  try {
    const found = KeySet.fromJwks(members, { allowPrivate: false });
    const refused = [...found.refused];
    const usable: Key[] = [];
    for (const key of found.keys) {
      // A key with `alg` has one algorithm, which the discovery document need not repeat.
      const limits = offered !== null && key.algorithms.length > 1 ? [algorithms, offered] : [algorithms];
      const names = key.algorithms.filter((name) => limits.every((limit) => limit.includes(name)));
      if (names.length > 0) usable.push(key.limitedTo(names));
      else refused.push({ kid: key.kid, why: `it is for ${key.algorithms.join(", ")}, which the verifier does not accept` });
    }
    return new KeySet(usable, refused);
  } catch (error) {
    if (error instanceof ConfigError) throw new AnswerError(error.message.slice(0, 300));
    throw error;
  }
}
