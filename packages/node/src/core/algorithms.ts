/**
 * The signature algorithms roomkey knows, and which key each belongs to (RFC 7518 section 3, RFC 8037, RFC 9864).
 *
 * `none` is not in the table, so no setting and no header can select it.
 */

import { ConfigError } from "../errors.js";

/** What an algorithm needs of its key, and how node:crypto names it. */
interface Algorithm {
  kty: "oct" | "RSA" | "EC" | "OKP";
  curves: readonly string[];
  hash: string | null;
}

export const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map<string, Algorithm>([
  ["HS256", { kty: "oct", curves: [], hash: "sha256" }],
  ["HS384", { kty: "oct", curves: [], hash: "sha384" }],
  ["HS512", { kty: "oct", curves: [], hash: "sha512" }],
  ["RS256", { kty: "RSA", curves: [], hash: "sha256" }],
  ["RS384", { kty: "RSA", curves: [], hash: "sha384" }],
  ["RS512", { kty: "RSA", curves: [], hash: "sha512" }],
  ["PS256", { kty: "RSA", curves: [], hash: "sha256" }],
  ["PS384", { kty: "RSA", curves: [], hash: "sha384" }],
  ["PS512", { kty: "RSA", curves: [], hash: "sha512" }],
  ["ES256", { kty: "EC", curves: ["P-256"], hash: "sha256" }],
  ["ES384", { kty: "EC", curves: ["P-384"], hash: "sha384" }],
  ["ES512", { kty: "EC", curves: ["P-521"], hash: "sha512" }],
  ["EdDSA", { kty: "OKP", curves: ["Ed25519", "Ed448"], hash: null }],
  ["Ed25519", { kty: "OKP", curves: ["Ed25519"], hash: null }],
  ["Ed448", { kty: "OKP", curves: ["Ed448"], hash: null }],
]);

/** The shortest secret for each HMAC, in bytes: as long as its hash (RFC 7518 section 3.2). */
export const HMAC_BYTES: ReadonlyMap<string, number> = new Map([
  ["HS256", 32],
  ["HS384", 48],
  ["HS512", 64],
]);

/** The algorithms with public keys. */
export const ASYMMETRIC: readonly string[] = [...ALGORITHMS.keys()].filter((name) => !HMAC_BYTES.has(name));

const NAMES = [...ALGORITHMS.keys()].join(", ");

/** The algorithms that a key of this type (and curve, where it has one) can be used with. */
export function suitable(kty: string, curve: string | null): string[] {
  const fits = (algorithm: Algorithm): boolean =>
    algorithm.kty === kty && (curve === null ? algorithm.curves.length === 0 : algorithm.curves.includes(curve));
  return [...ALGORITHMS].filter(([, algorithm]) => fits(algorithm)).map(([name]) => name);
}

/**
 * Check a verifier's list of algorithms, before any token comes.
 *
 * @throws {ConfigError} the list is empty, names an unknown algorithm (`none` is one), or mixes HMAC with public keys,
 *   which is how a public key becomes an HMAC secret (RFC 8725 section 2.1).
 */
export function checkAlgorithms(algorithms: unknown): readonly string[] {
  if (!Array.isArray(algorithms)) throw new ConfigError(`algorithms must be a list, such as ["RS256"]`);
  const chosen: unknown[] = algorithms;
  if (chosen.length === 0 || !chosen.every((name) => typeof name === "string" && ALGORITHMS.has(name))) {
    throw new ConfigError(`algorithms must name at least one of ${NAMES}, and nothing else`);
  }
  const names = chosen as string[];
  const symmetric = names.filter((name) => HMAC_BYTES.has(name)).length;
  if (symmetric > 0 && symmetric < names.length) {
    throw new ConfigError("one verifier takes either HS* or public-key algorithms; make two verifiers");
  }
  return names;
}
