/**
 * Keys and sets of keys (RFC 7517): each key says which algorithms it may be used with, and weak keys are refused.
 *
 * Keys verify only; node:crypto holds them.
 */

import {
  type JsonWebKey,
  type KeyObject,
  constants,
  createHash,
  createHmac,
  createPublicKey,
  createSecretKey,
  timingSafeEqual,
  verify as verifySignature,
} from "node:crypto";

import { ConfigError } from "../errors.js";
import { ALGORITHMS, HMAC_BYTES, suitable } from "./algorithms.js";
import { isWithin } from "./characters.js";
import { keyBlocks } from "./pem.js";
import { isObject } from "./strict_json.js";
import { checkPurpose, checkRsa, checkSecret } from "./weak_keys.js";

export const MAX_KID = 255;

/** The members that a thumbprint is made of, in order (RFC 7638 section 3.2), and those that are required. */
const MATERIAL: Record<string, readonly string[]> = {
  oct: ["k", "kty"],
  RSA: ["e", "kty", "n"],
  EC: ["crv", "kty", "x", "y"],
  OKP: ["crv", "kty", "x"],
};
const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth"];
const TEXTS = ["kid", "x5t", "x5t#S256"];
const BASE64URL = /^[A-Za-z0-9_-]+=*$/;

export interface KeyOptions {
  /** The key's name in the headers of tokens; its RFC 7638 thumbprint by default. */
  kid?: string | undefined;
  /** Narrows what the key may be used with; all that suit its type by default. */
  algorithms?: readonly string[] | undefined;
}

/** One key that verifies signatures, with its name and what it may be used for. */
export class Key {
  private constructor(
    readonly kid: string,
    readonly kty: string,
    readonly algorithms: readonly string[],
    /** The RFC 7638 thumbprint of the key material. */
    readonly thumbprint: string,
    private readonly object: KeyObject,
  ) {}

  /**
   * A shared secret for HS256, HS384 or HS512.
   *
   * @param secret at least as long as the hash: 32, 48 or 64 bytes (RFC 7518 section 3.2).
   * @throws {ConfigError} too short, a well-known placeholder, or a public key.
   */
  static fromSecret(secret: string | Uint8Array, algorithm = "HS256", options: { kid?: string | undefined } = {}): Key {
    return Key.#secret(secret, algorithm, options.kid, false);
  }

  /**
   * A shared secret of any length, for a verifier that is told to accept it.
   *
   * @internal
   */
  static fromShortSecret(secret: string | Uint8Array, algorithm: string, kid: string | undefined): Key {
    return Key.#secret(secret, algorithm, kid, true);
  }

  static #secret(secret: string | Uint8Array, algorithm: string, kid: string | undefined, anyLength: boolean): Key {
    if (!HMAC_BYTES.has(algorithm)) throw new ConfigError(`a shared secret does not sign with ${algorithm}`);
    if (typeof secret !== "string" && !(secret instanceof Uint8Array)) {
      throw new ConfigError(`a shared secret is a string or bytes, not ${typeof secret}: is a setting missing?`);
    }
    const raw = Buffer.from(secret);
    checkSecret(raw, algorithm, true, anyLength);
    return Key.#judged(createSecretKey(raw), { kid, algorithms: [algorithm] }, anyLength);
  }

  /**
   * A public key in PEM form (SPKI, PKCS#1 or a certificate), or the public half of a private one.
   *
   * @throws {ConfigError} not a key, several keys, a weak key, or none of the algorithms suits it.
   */
  static fromPem(pem: string | Uint8Array, options: KeyOptions = {}): Key {
    if (typeof pem !== "string" && !(pem instanceof Uint8Array)) {
      throw new ConfigError(`a PEM file is a string or bytes, not ${typeof pem}: is a setting missing?`);
    }
    const [block, ...others] = keyBlocks(Buffer.from(pem).toString());
    if (block === undefined || others.length > 0) {
      throw new ConfigError(`this PEM contains ${others.length + 1} keys; read them with KeySet.fromPem, or keep one`);
    }
    return Key.#judged(imported(() => createPublicKey(block), "no RSA, EC, Ed25519 or Ed448 key in this PEM"), options);
  }

  /**
   * A JSON Web Key (RFC 7517 section 4). Its `alg` narrows what it may be used with.
   *
   * @throws {ConfigError} not a usable signature key; the text says why.
   */
  static fromJwk(jwk: Record<string, unknown>): Key {
    const kty = jwk.kty;
    if (typeof kty !== "string" || !Object.hasOwn(MATERIAL, kty)) throw new ConfigError("unknown kty");
    checkPurpose(jwk);
    const object = imported(() => importJwk(jwk, kty), `not a valid ${kty} key`);
    const alg = jwk.alg as string | undefined;
    return Key.#judged(object, { kid: jwk.kid as string | undefined, algorithms: alg === undefined ? undefined : [alg] });
  }

  /** Refuse a weak key, settle its algorithms and its name. */
  static #judged(object: KeyObject, { kid, algorithms }: KeyOptions, anyLength = false): Key {
    const jwk = object.export({ format: "jwk" }) as Record<string, string>;
    const kty = String(jwk.kty);
    if (kty === "RSA") checkRsa(toInteger(String(jwk.n)), toInteger(String(jwk.e)));
    let fitting = suitable(kty, jwk.crv ?? null);
    if (kty === "oct" && !anyLength) fitting = fitting.filter((name) => (object.symmetricKeySize ?? 0) >= (HMAC_BYTES.get(name) ?? 0));
    const chosen = algorithms === undefined ? fitting : algorithms.filter((name) => fitting.includes(name));
    if (chosen[0] === undefined) throw new ConfigError(`this ${kty} key is not usable${algorithms ? ` for ${algorithms.join(", ")}` : ""}`);
    if (kty === "oct") checkSecret(object.export(), chosen[0], false, anyLength);
    if (kid !== undefined && !(typeof kid === "string" && kid.length > 0 && isWithin(kid, MAX_KID))) {
      throw new ConfigError(`kid must be a string of 1 to ${MAX_KID} characters`);
    }
    const material = Object.fromEntries((MATERIAL[kty] ?? []).map((name) => [name, jwk[name]]));
    const thumbprint = createHash("sha256").update(JSON.stringify(material)).digest("base64url");
    return new Key(kid ?? thumbprint, kty, chosen, thumbprint, object);
  }

  /** The same key, for the algorithms of both entries that list it. */
  united(other: Key): Key {
    return new Key(this.kid, this.kty, [...new Set([...this.algorithms, ...other.algorithms])], this.thumbprint, this.object);
  }

  /** The same key, for these of its algorithms. */
  limitedTo(algorithms: readonly string[]): Key {
    return new Key(this.kid, this.kty, algorithms, this.thumbprint, this.object);
  }

  /** True if the signature is this key's over `signingInput` (RFC 7515 section 5.2). */
  verify(algorithm: string, signingInput: Buffer, signature: Buffer): boolean {
    if (!this.algorithms.includes(algorithm)) return false;
    const hash = ALGORITHMS.get(algorithm)?.hash ?? null;
    switch (algorithm.slice(0, 2)) {
      case "HS": {
        const expected = createHmac(String(hash), this.object).update(signingInput).digest();
        return signature.length === expected.length && timingSafeEqual(signature, expected);
      }
      case "ES":
        return verifySignature(hash, signingInput, { key: this.object, dsaEncoding: "ieee-p1363" }, signature);
      case "PS": {
        const padding = constants.RSA_PKCS1_PSS_PADDING;
        const saltLength = constants.RSA_PSS_SALTLEN_DIGEST;
        return verifySignature(hash, signingInput, { key: this.object, padding, saltLength }, signature);
      }
      default:
        return verifySignature(hash, signingInput, this.object, signature);
    }
  }
}

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

function imported(make: () => KeyObject, what: string): KeyObject {
  try {
    return make();
  } catch {
    throw new ConfigError(what);
  }
}

function importJwk(jwk: Record<string, unknown>, kty: string): KeyObject {
  for (const name of TEXTS) if (Object.hasOwn(jwk, name) && typeof jwk[name] !== "string") throw new Error(name);
  const material: Record<string, string> = {};
  for (const name of MATERIAL[kty] ?? []) {
    const value = jwk[name];
    if (typeof value !== "string" || !(name === "crv" || BASE64URL.test(value))) throw new Error(name);
    material[name] = value;
  }
  if (kty === "oct") return createSecretKey(Buffer.from(String(material.k), "base64url"));
  return createPublicKey({ key: material as JsonWebKey, format: "jwk" });
}

function toInteger(base64url: string): bigint {
  return BigInt(`0x${Buffer.from(base64url, "base64url").toString("hex") || "0"}`);
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
