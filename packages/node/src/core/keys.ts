/**
 * Keys (RFC 7517): each is bound to its algorithms, and weak keys are rejected.
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
import { checkPurpose, checkRsa, checkSecret } from "./weak_keys.js";

export const MAX_KID = 255;

/** The members that a thumbprint is made of, in order (RFC 7638 section 3.2), and those that are required. */
const MATERIAL: Record<string, readonly string[]> = {
  oct: ["k", "kty"],
  RSA: ["e", "kty", "n"],
  EC: ["crv", "kty", "x", "y"],
  OKP: ["crv", "kty", "x"],
};
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
