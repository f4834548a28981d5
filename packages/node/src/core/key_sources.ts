/** Where the keys of a verifier come from: fixed, by time, from another server, and of one or several issuers. */

import { AuthError, ConfigError, ExpiredToken, InvalidProof, Unavailable, UnknownKey } from "../errors.js";
import { oneOrMore } from "./claims.js";
import { KeySet, type LiveKeySet, type RemoteKeys } from "./key_set.js";
import { Key } from "./keys.js";
import { isObject } from "./strict_json.js";

/** The keys of one issuer. A function returns those of a time, so that keys can be rotated. */
export type Keys = KeySet | Key | readonly Key[] | LiveKeySet | RemoteKeys;
export type KeySource = KeySet | LiveKeySet | RemoteKeys;

/** True for a {@link RemoteKeys}. */
export function isRemote(keys: unknown): keys is RemoteKeys {
  const { current, lookUp } = (keys ?? {}) as Partial<RemoteKeys>;
  return typeof current === "function" && typeof lookUp === "function";
}

/** The keys of a time, without waiting. */
export function keysAt(source: KeySource, now: number): KeySet {
  if (source instanceof KeySet) return source;
  return typeof source === "function" ? source(now) : source.current(now);
}

/**
 * The keys of a time, for a token whose signature is not verified. If the keys are unavailable, a token that would be
 * rejected anyway is rejected without saying which claim is the reason. An expired one is not, because its client must not
 * stop: it gets a new token when the keys are known. Neither is one whose proof is missing: its client can send one.
 *
 * @throws {UnknownKey} there are no keys now, and the token would be rejected anyway.
 * @throws {Unavailable} there are no keys now.
 */
export function knownKeys(source: KeySource, now: number, check: () => unknown): KeySet {
  try {
    return keysAt(source, now);
  } catch (unavailable) {
    if (!(unavailable instanceof Unavailable)) throw unavailable;
    try {
      check();
    } catch (error) {
      if (!(error instanceof AuthError) || error instanceof ExpiredToken || error instanceof InvalidProof) {
        throw unavailable;
      }
      throw new UnknownKey(`the keys are unknown, and the token is not acceptable: ${error.detail}`);
    }
    throw unavailable;
  }
}

/**
 * Return if another server has no key for a token that would be accepted otherwise.
 *
 * @throws {Unavailable} it may have one.
 */
export function lookUp(keys: RemoteKeys, kid: string | null, now: number, check: () => unknown): void {
  if (kid !== null && keys.current(now).named(kid).length > 0) return;
  try {
    check();
  } catch (error) {
    if (error instanceof AuthError && !(error instanceof InvalidProof)) return; // its client can send a proof
    if (!(error instanceof AuthError)) throw error;
  }
  keys.lookUp(kid);
}

/** @throws {ConfigError} not keys. */
export function keySource(keys: Keys): KeySource {
  if (keys instanceof KeySet || typeof keys === "function" || isRemote(keys)) return keys;
  const held: unknown = keys instanceof Key ? [keys] : keys;
  if (!Array.isArray(held) || !held.every((key) => key instanceof Key)) {
    throw new ConfigError("a verifier requires keys, such as KeySet.fromJwks(…); for a shared secret use Verifier.hs256(secret)");
  }
  return new KeySet(held);
}

/** The keys of each issuer, or null if the keys are those of one. */
export function issuerMap(keys: unknown): Map<string, KeySource> | null {
  if (keys instanceof KeySet || keys instanceof Key || isRemote(keys)) return null;
  if (!(keys instanceof Map) && !isObject(keys)) return null;
  if (isObject(keys) && (Object.hasOwn(keys, "kty") || Array.isArray(keys.keys))) {
    throw new ConfigError("a verifier requires keys; read the JWK Set with KeySet.fromJwks(…) or use Verifier.jwks(…)");
  }
  const entries = [...(keys instanceof Map ? (keys as Map<string, Keys>) : new Map(Object.entries(keys as Record<string, Keys>)))];
  if (entries.length === 0) throw new ConfigError("keys is empty; name at least one issuer and its keys");
  for (const [issuer] of entries) oneOrMore(issuer, "an issuer in keys");
  return new Map(entries.map(([issuer, source]) => [issuer, keySource(source)]));
}
