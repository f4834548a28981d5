/** Sets of keys (RFC 7517 section 5), in which the `kid` and `alg` of a token select the key. */

import { ConfigError } from "../errors.js";
import { Key } from "./keys.js";
import { keyBlocks } from "./pem.js";
import { isObject } from "./strict_json.js";

const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/** A key set that changes: what tells the keys of a time, in seconds since the epoch. */
export type LiveKeySet = (now: number) => KeySet;

/** The keys of another server, which can have a key that this process does not know yet. */
export interface RemoteKeys {
  /**
   * Return the known keys, without waiting.
   *
   * @throws {Unavailable} there are none.
   */
  current(now: number): KeySet;

  /**
   * Return if the other server has no key for a token.
   *
   * @throws {Unavailable} it may have one.
   */
  lookUp(kid: string | null): void;
}

/** A key that a key set leaves out, and the reason. */
export interface RefusedKey {
  readonly kid: string | null;
  readonly why: string;
}

/**
 * Keys by `kid` and algorithm. A `kid` may name several keys, as long as the algorithm of a token tells them apart. The
 * same key twice is one key, for the algorithms of both.
 */
export class KeySet {
  readonly keys: readonly Key[];
  /** What {@link KeySet.fromJwks} left out, and why. */
  readonly refused: readonly RefusedKey[];
  readonly #named = new Map<string, Key[]>();

  /** @throws {ConfigError} no key, or two different keys with one `kid` and a common algorithm. */
  constructor(keys: Iterable<Key>, refused: readonly RefusedKey[] = []) {
    const { held, ambiguous } = toldApart(keys);
    this.refused = refused;
    if (ambiguous[0]) {
      throw new ConfigError(`two keys have the kid ${ambiguous[0].kid} and a common algorithm; give each its own kid`);
    }
    if (held.length === 0) {
      const why = refused.map((one) => `${one.kid}: ${one.why}`).join("; ");
      throw new ConfigError(`a key set needs at least one usable key${why && ` (${why})`}`);
    }
    this.keys = held;
    for (const key of held) this.#named.set(key.kid, [...(this.#named.get(key.kid) ?? []), key]);
  }

  /**
   * A JWK Set (RFC 7517 section 5). A bad key is refused and listed in `refused`; the others stay.
   *
   * @param allowSymmetric let `oct` keys in: never for a set that was fetched from somewhere.
   * @param allowPrivate let private keys in. In a set from the network, a private key is no longer a secret.
   * @throws {ConfigError} not a JWK Set, or no usable key in it.
   */
  static fromJwks(jwks: unknown, { allowSymmetric = false, allowPrivate = true } = {}): KeySet {
    const listed = isObject(jwks) ? jwks.keys : undefined;
    if (!Array.isArray(listed)) throw new ConfigError('a JWK Set is an object with a list "keys"');
    const made: Key[] = [];
    const refused: RefusedKey[] = [];
    for (const jwk of listed as unknown[]) {
      try {
        made.push(keyOfSet(jwk, allowSymmetric, allowPrivate));
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        refused.push({ kid: isObject(jwk) && typeof jwk.kid === "string" ? jwk.kid : null, why: error.message });
      }
    }
    const { held, ambiguous } = toldApart(made);
    for (const key of ambiguous) refused.push({ kid: key.kid, why: "another key has this kid and algorithm" });
    return new KeySet(held, refused);
  }

  /** A set of PEM keys, named by their thumbprints; one PEM may contain several. */
  static fromPem(pem: string | Uint8Array, options: { algorithms?: readonly string[] } = {}): KeySet {
    return new KeySet(keyBlocks(Buffer.from(pem).toString()).map((block) => Key.fromPem(block, options)));
  }

  /** The keys of this name; all keys if there is none. */
  named(kid: string | null): readonly Key[] {
    return kid === null ? this.keys : (this.#named.get(kid) ?? []);
  }
}

/** A key of a JWK Set, which is there to verify with. */
function keyOfSet(jwk: unknown, allowSymmetric: boolean, allowPrivate: boolean): Key {
  if (!isObject(jwk)) throw new ConfigError("not an object");
  if (jwk.kty === "oct" && !allowSymmetric) throw new ConfigError("a shared secret in a public set");
  if (!allowPrivate && jwk.kty !== "oct" && PRIVATE_MEMBERS.some((name) => Object.hasOwn(jwk, name))) {
    throw new ConfigError("a private key in a public set");
  }
  const key = Key.fromJwk(jwk);
  if (Array.isArray(jwk.key_ops) && !jwk.key_ops.includes("verify")) throw new ConfigError("key_ops does not allow verify");
  return key;
}

/** Divide keys into those that the `kid` and `alg` of a token find, and those that they cannot tell apart. */
function toldApart(keys: Iterable<Key>): { held: Key[]; ambiguous: Key[] } {
  const merged = new Map<string, Key>();
  for (const key of keys) {
    const same = JSON.stringify([key.kid, key.thumbprint]);
    merged.set(same, merged.get(same)?.united(key) ?? key);
  }
  const uses = new Map<string, number>();
  const use = (key: Key, algorithm: string): string => JSON.stringify([key.kid, algorithm]);
  for (const key of merged.values()) {
    for (const name of key.algorithms) uses.set(use(key, name), (uses.get(use(key, name)) ?? 0) + 1);
  }
  const all = [...merged.values()];
  const isAmbiguous = (key: Key): boolean => key.algorithms.some((name) => (uses.get(use(key, name)) ?? 0) > 1);
  return { held: all.filter((key) => !isAmbiguous(key)), ambiguous: all.filter(isAmbiguous) };
}
