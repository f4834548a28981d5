/** Checks that reject weak keys: short or broken keys, keys for another purpose, and well-known secrets. */

import { ConfigError } from "../errors.js";
import { ALGORITHMS, HMAC_BYTES } from "./algorithms.js";
import { isClean } from "./characters.js";

export const OTHER_USE = "use is not sig";
export const MIN_RSA_BITS = 2048;
/** OpenSSL verifies with no longer one; each bit costs time. */
export const MAX_RSA_BITS = 16_384;
/** The limit of a public exponent. Nearly all keys have 65537; with a long one, each verification takes 100 times longer. */
const MAX_RSA_EXPONENT = 2n ** 32n;

const OTHER_KEY = "this secret is a PEM or SSH key, such as a public key; use Verifier.pem and a public-key algorithm";
const MARKER = /-{4,5} ?(?:begin|end) [a-z0-9 ]/i;
const SSH = /^[\t-\r ]*(?:ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)[a-z0-9@.-]+ /i;
/** How secrets in documentation begin; some are long enough for HS256. */
// prettier-ignore
const PLACEHOLDERS = ["secret", "password", "changeme", "change-me", "change_me", "your-256-bit", "your-384-bit",
  "your-512-bit", "your-secret", "your_secret", "yoursecret", "my-secret", "my_secret", "mysecret",
  "supersecret", "super-secret", "super_secret", "a-string-secret-at-least", "a-very-long-secret",
  "replace-me", "replace_me", "placeholder", "example", "development", "insecure", "django-insecure-",
  "not-so-secret", "keyboard cat", "this-is-a-secret", "this is a secret", "thisisasecret",
  "jwt-secret", "jwt_secret",
  // the keys that FastAPI's and Flask's tutorials print in full
  "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
  "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf"];
// prettier-ignore
const SMALL_PRIMES = [3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
  103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167];

/**
 * Refuse a shared secret that is short (RFC 7518 section 3.2), a placeholder or a key of another kind.
 *
 * @param typed a person wrote it into a setting, so that "xxxxxxxx…" is a placeholder too, and a line break at its end is
 *   a mistake.
 * @param anyLength it may be shorter than RFC 7518 requires.
 */
export function checkSecret(raw: Buffer, algorithm: string, typed: boolean, anyLength = false): void {
  const text = raw.toString("latin1");
  if (MARKER.test(text) || SSH.test(text)) throw new ConfigError(OTHER_KEY);
  if (typed && endsWithLineBreak(raw)) {
    throw new ConfigError("the secret ends with a line break; remove it, such as with secret.trim()");
  }
  const wanted = HMAC_BYTES.get(algorithm) ?? Infinity;
  const remedy = `make one: node -p "crypto.randomBytes(${wanted}).toString('base64url')"`;
  if (raw.length < wanted && !anyLength) {
    throw new ConfigError(
      `the ${algorithm} secret has ${raw.length} bytes and needs ${wanted} (RFC 7518 section 3.2); ${remedy}`,
    );
  }
  if (typed && isAddress(raw.toString())) {
    throw new ConfigError("a URL is not a secret; for the keys of a JWK Set at a URL, use Verifier.remote");
  }
  const lowered = text.toLowerCase();
  if ((typed && new Set(raw).size < 8) || PLACEHOLDERS.some((word) => lowered.startsWith(word))) {
    throw new ConfigError(`this secret is a placeholder; ${remedy}`);
  }
}

/** True for a URL, where somebody took the address of a key for the key. */
export function isAddress(text: string): boolean {
  return /^\s*https?:\/\//i.test(text);
}

/** True if it is a text with a line break at its end; random bytes may end like that, too. */
function endsWithLineBreak(raw: Buffer): boolean {
  let end = raw.length;
  while (end > 0 && (raw[end - 1] === 0x0a || raw[end - 1] === 0x0d)) end--;
  if (end === raw.length) return false;
  try {
    return isClean(new TextDecoder("utf-8", { fatal: true }).decode(raw.subarray(0, end)));
  } catch {
    return false;
  }
}

/**
 * Refuse a JWK that is not for signatures (RFC 7517 sections 4.2, 4.3 and 4.4).
 *
 * @throws {ConfigError} its `use`, `key_ops` or `alg` is for something else, or it is an RSA key that is too long.
 */
export function checkPurpose(jwk: Record<string, unknown>): void {
  if (Object.hasOwn(jwk, "use") && jwk.use !== "sig") throw new ConfigError(OTHER_USE);
  if (Object.hasOwn(jwk, "key_ops")) {
    const operations = jwk.key_ops;
    if (!Array.isArray(operations) || !(operations.includes("verify") || operations.includes("sign"))) {
      throw new ConfigError("key_ops allows neither verify nor sign");
    }
  }
  if (Object.hasOwn(jwk, "alg") && !(typeof jwk.alg === "string" && ALGORITHMS.has(jwk.alg))) {
    throw new ConfigError("alg is not a signature algorithm that roomkey knows");
  }
  if (jwk.kty === "RSA" && typeof jwk.n === "string" && jwk.n.length * 6 > MAX_RSA_BITS + 64) {
    throw new ConfigError(`this RSA key has more than ${MAX_RSA_BITS} bits`);
  }
}

/** Refuse an RSA key that is short (RFC 7518 section 3.3) or too long, has a useless exponent, or can be factored. */
export function checkRsa(modulus: bigint, exponent: bigint): void {
  const bits = modulus.toString(2).length;
  if (bits < MIN_RSA_BITS) {
    throw new ConfigError(`this RSA key has ${bits} bits and needs ${MIN_RSA_BITS} (RFC 7518 section 3.3)`);
  }
  if (bits > MAX_RSA_BITS) throw new ConfigError(`this RSA key has more than ${MAX_RSA_BITS} bits`);
  if (exponent < 3n || exponent >= MAX_RSA_EXPONENT || exponent % 2n === 0n) throw new ConfigError("this RSA key has an unusable public exponent");
  if (SMALL_PRIMES.every((prime) => isPowerOf65537(Number(modulus % BigInt(prime)), prime))) {
    throw new ConfigError("this RSA key was made by a broken generator (CVE-2017-15361); make a new one");
  }
}

/** As the moduli of broken generators are, modulo every small prime (ROCA). */
function isPowerOf65537(rest: number, prime: number): boolean {
  let power = 1;
  for (let count = 0; count < prime; count++) {
    if (power === rest) return true;
    power = (power * (65537 % prime)) % prime;
  }
  return false;
}
