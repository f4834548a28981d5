/**
 * Proofs of possession for tokens that are bound to a key (DPoP, RFC 9449), and the check of `cnf` (RFC 7800).
 *
 * The proof travels next to the token: as `dpop` in the CONNECT payload or in `authenticate`, because a browser cannot set
 * headers on a WebSocket. The packet may arrive by POST or on a WebSocket. Therefore `htm` is always GET, and `htu` is the
 * public URL of the Socket.IO path.
 */

import { createHash } from "node:crypto";

import { ClaimError, ConfigError, InvalidProof, MissingClaim, NonceRequired, TokenError } from "../errors.js";
import { ALGORITHMS, HMAC_BYTES, checkAlgorithms } from "./algorithms.js";
import { type Claims, checkTypes, get, oneOrMore } from "./claims.js";
import type { Identity } from "./identity.js";
import { REFUSED_MEMBERS, type Parts, checkSignedWith, decodePart, jsonObject, split } from "./jws.js";
import { Key } from "./keys.js";
import { Nonces } from "./nonces.js";
import { checkNames } from "./options.js";
import { printable } from "./printable.js";
import { isObject } from "./strict_json.js";

/** The longest proof, in bytes; checked before anything is decoded. It also limits the size of RSA keys. */
export const MAX_PROOF = 4096;
/** The largest difference between a proof's `iat` and this clock, in seconds. */
export const WINDOW = 60;
const TYPE = "dpop+jwt";
const METHOD = "GET";
const ASYMMETRIC = [...ALGORITHMS.keys()].filter((name) => !HMAC_BYTES.has(name));

const REFUSED = REFUSED_MEMBERS.filter((name) => name !== "jwk");
/** The members of a public key. Those of a curve have its length in bytes; others have any length, and no leading zero. */
const MATERIAL: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["RSA", ["n", "e"]],
  ["EC", ["x", "y"]],
  ["OKP", ["x"]],
]);
const LENGTHS: ReadonlyMap<unknown, number> = new Map([
  ["P-256", 32],
  ["P-384", 48],
  ["P-521", 66],
  ["Ed25519", 32],
  ["Ed448", 57],
]);
const PRIVATE = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/** The SHA-256 of a key, in base64url. */
const THUMBPRINT = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

const URL_FORM = /^(https?):\/\/([A-Za-z0-9._~!$&'()*+,;=:[\]-]+)(\/[^?#]*)?(?:\?[^#]*)?(?:#.*)?$/i;
const VISIBLE = /^[!-~]+$/;
const ESCAPE = /%([0-9A-Fa-f]{2})/g;
const UNRESERVED = /^[A-Za-z0-9._~-]$/;
const DEFAULT_PORTS: Record<string, string> = { http: ":80", https: ":443" };
const LOOPBACK = /^http:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?\//;

/** How a guard checks that clients own the key to which their token is bound. */
export interface DPoPOptions {
  /** The public URL of the Socket.IO path, as clients use it, such as `https://chat.example/socket.io/`; or several. */
  url: string | readonly string[];
  /** Refuse sockets with tokens that are not bound to a key. Default: false. */
  required?: boolean;
  /**
   * A secret of at least 32 bytes, the same on every node. If it is set, a proof must contain a nonce of this server, so
   * that nobody can make proofs for later. Default: no nonces.
   */
  nonceSecret?: string | Uint8Array | null;
  /** The accepted algorithms of proofs. Default: all public-key algorithms that roomkey knows. */
  algorithms?: readonly string[];
  /** So many used proofs are remembered; beyond that, new ones are refused until the oldest expire. Default: 100,000. */
  maxProofs?: number;
  /** The same, for each subject. Default: 1000. */
  maxProofsPerSubject?: number;
}

// prettier-ignore
const NAMES: Readonly<Record<keyof DPoPOptions, true>> = { url: true, required: true, nonceSecret: true, algorithms: true, maxProofs: true, maxProofsPerSubject: true };

/** The checked settings. */
export class DPoP {
  readonly urls: ReadonlySet<string>;
  readonly accepted: readonly string[];
  readonly nonces: Nonces | null;
  readonly required: boolean;
  readonly maxProofs: number;
  readonly maxProofsPerSubject: number;

  /** @throws {ConfigError} not the complete URL of a path, a weak secret, a shared-secret algorithm, or a number below 1. */
  constructor(options: DPoPOptions) {
    if (!isObject(options)) throw new ConfigError("dpop must be an object: { url: 'https://chat.example/socket.io/' }");
    checkNames(options, NAMES);
    this.urls = new Set(oneOrMore(options.url, "url").map(publicUrl));
    if (this.urls.size === 0) throw new ConfigError("url must be the public URL of the Socket.IO path");
    this.accepted = checkAlgorithms(options.algorithms ?? ASYMMETRIC);
    if (this.accepted.some((name) => HMAC_BYTES.has(name))) {
      throw new ConfigError("algorithms of DPoP proofs must be public-key algorithms, such as ES256");
    }
    const secret = options.nonceSecret ?? null;
    this.nonces = secret === null ? null : new Nonces(secret);
    this.required = options.required ?? false;
    this.maxProofs = options.maxProofs ?? 100_000;
    this.maxProofsPerSubject = options.maxProofsPerSubject ?? 1000;
    for (const most of [this.maxProofs, this.maxProofsPerSubject]) {
      if (!Number.isInteger(most) || most < 1) throw new ConfigError("maxProofs and maxProofsPerSubject must be at least 1");
    }
  }
}

/** A verified proof. */
export interface Proof {
  /** The RFC 7638 thumbprint of the key that signed it. */
  key: string;
  /** Its `jti`. */
  id: string;
  /** Its `iat`, in seconds since the epoch. */
  issuedAt: number;
}

interface ProofHeader {
  algorithm: string;
  key: Key;
}

/**
 * Verify a proof for a token (RFC 9449 section 4.3), except that it was not used before.
 *
 * @param token the token that the proof is for.
 * @param now seconds since the epoch.
 * @throws {InvalidProof} the first failed check; `error.detail` says what was found.
 * @throws {NonceRequired} the proof is valid otherwise.
 */
export function checkProof(settings: DPoP, proof: unknown, token: string, now: number): Proof {
  const { header, claims } = verified(settings, proof, token, now);
  if (settings.nonces !== null && !settings.nonces.accepts(get(claims, "nonce"), now)) {
    throw new NonceRequired(settings.nonces.issue(now), "DPoP proof: no nonce, or not one that is valid now");
  }
  return { key: header.key.thumbprint, id: claims.jti as string, issuedAt: claims.iat as number };
}

function verified(settings: DPoP, proof: unknown, token: string, now: number): { header: ProofHeader; claims: Claims } {
  try {
    const parts = split(parseHeader, proof, MAX_PROOF);
    checkSignature(parts, settings);
    const claims: Claims = jsonObject(parts.payload, "payload");
    checkTypes(claims);
    checkClaims(claims, settings, token, now);
    return { header: parts.header, claims };
  } catch (error) {
    if (error instanceof TokenError) throw new InvalidProof(`DPoP proof: ${error.detail}`);
    throw error;
  }
}

/**
 * Check that a token is presented by the owner of the key in `cnf` (RFC 7800 section 3.1, RFC 9449 section 6.1).
 *
 * @param claims the verified claims of the token.
 * @param provedKey the thumbprint of the key whose possession the client proved; null without a proof.
 * @throws {InvalidProof} the token is bound to a key, and there is no proof.
 * @throws {ClaimError} `cnf` is not exactly a thumbprint, or is that of another key. Other members, such as `x5t#S256`,
 *   demand a proof that roomkey cannot check.
 * @throws {MissingClaim} there is a proof, but the token is not bound (RFC 9449 section 7.1).
 */
export function checkBinding(claims: Readonly<Claims>, provedKey: string | null): void {
  if (!Object.hasOwn(claims, "cnf")) {
    if (provedKey !== null) throw new MissingClaim("cnf", "a DPoP proof, but the token is not bound to a key");
    return;
  }
  const { cnf } = claims;
  const boundTo = isObject(cnf) && Object.keys(cnf).length === 1 ? get(cnf, "jkt") : undefined;
  if (typeof boundTo !== "string" || !THUMBPRINT.test(boundTo)) {
    throw new ClaimError("cnf", "cnf is not a thumbprint in jkt alone, so the binding of the token cannot be checked");
  }
  if (provedKey === null) {
    throw new InvalidProof(
      "the token is bound to a key (cnf.jkt), and no DPoP proof was checked: only sockets can present one, next to the " +
        "token, and only if the guard has the option dpop: { url: 'https://chat.example/socket.io/' }",
      { message: "DPoP proof required" },
    );
  }
  if (boundTo !== provedKey) throw new ClaimError("cnf", "the DPoP proof is by another key than the token's");
}

/** The thumbprint of the key to which an identity's token is bound, or null. */
export function keyOf(who: Identity): string | null {
  const cnf = get(who.claims as Claims, "cnf");
  const key = isObject(cnf) ? get(cnf, "jkt") : undefined;
  return typeof key === "string" ? key : null;
}

/** True if a later token is bound to the key of the earlier one, or the earlier one is not bound. */
export function isSameKey(earlier: Identity, later: Identity): boolean {
  return keyOf(earlier) === null || keyOf(earlier) === keyOf(later);
}

/**
 * The normal form of an http or https URL, without query and fragment: scheme and host in lower case, without the default
 * port, percent-encoded as little as possible (RFC 9449 section 4.3, RFC 3986 section 6.2).
 *
 * @returns null if it is not an absolute URL, has a user name, or has a spelling that clients may resolve differently, such
 *   as `..` in its path.
 */
export function normalUrl(url: string): string | null {
  const found = VISIBLE.test(url) ? URL_FORM.exec(url) : null;
  if (!found?.[1] || !found[2]) return null;
  const scheme = found[1].toLowerCase();
  const authority = without(without(found[2].toLowerCase(), DEFAULT_PORTS[scheme] ?? ""), ":");
  const path = (found[3] ?? "/").replace(ESCAPE, decodeUnreserved);
  const isStrange = path.replace(ESCAPE, "").includes("%") || path.includes("\\") || /\/\.{1,2}(\/|$)/.test(path);
  return isStrange || authority === "" ? null : `${scheme}://${authority}${path}`;
}

function without(text: string, suffix: string): string {
  return text.endsWith(suffix) ? text.slice(0, text.length - suffix.length) : text;
}

function decodeUnreserved(escape: string, hex: string): string {
  const character = String.fromCharCode(parseInt(hex, 16));
  return UNRESERVED.test(character) ? character : escape.toUpperCase();
}

function publicUrl(url: string): string {
  const normal = normalUrl(url);
  if (normal === null || /[?#]/.test(url) || url.split("/").length < 4) {
    throw new ConfigError("url must be the public URL of the Socket.IO path, such as https://chat.example/socket.io/");
  }
  if (!URL.canParse(normal) || !(normal.startsWith("https:") || LOOPBACK.test(normal))) {
    throw new ConfigError("url must use https, unless it is on this machine");
  }
  return normal;
}

/** Parse the header of a proof (RFC 9449 section 4.2). It is not cached, because each client has a key of its own. */
function parseHeader(part: string): ProofHeader {
  const members = jsonObject(decodePart(part), "header");
  const refused = REFUSED.find((name) => Object.hasOwn(members, name));
  if (refused !== undefined) throw new TokenError(`header member ${refused} is not accepted`);
  const [type, algorithm, jwk] = ["typ", "alg", "jwk"].map((name) => get(members, name));
  if (type !== TYPE) throw new TokenError(`typ is ${printable(type)}, not ${TYPE}`);
  if (typeof algorithm !== "string") throw new TokenError("the header has no alg");
  if (!isObject(jwk)) throw new TokenError("the header has no jwk");
  return { algorithm, key: publicKey(jwk) };
}

/** The key of a proof. Its members must be in canonical form: otherwise, one key could have several thumbprints. */
function publicKey(jwk: Record<string, unknown>): Key {
  const material = MATERIAL.get(get(jwk, "kty"));
  if (material === undefined || PRIVATE.some((name) => Object.hasOwn(jwk, name))) throw new TokenError("jwk is not a public key");
  const length = jwk.kty === "RSA" ? undefined : LENGTHS.get(get(jwk, "crv"));
  for (const name of material) {
    const value = get(jwk, name);
    if (typeof value !== "string") throw new TokenError(`jwk has no ${name}`);
    const raw = decodePart(value);
    const isCanonical = length === undefined ? raw.length > 0 && raw[0] !== 0 : raw.length === length;
    if (!isCanonical) throw new TokenError(`${name} in jwk is not canonical`);
  }
  try {
    return Key.fromJwk(jwk);
  } catch (error) {
    if (error instanceof ConfigError) throw new TokenError(`jwk: ${error.message}`);
    throw error;
  }
}

function checkSignature(parts: Parts<ProofHeader>, settings: DPoP): void {
  const { algorithm, key } = parts.header;
  if (!settings.accepted.includes(algorithm) || !key.algorithms.includes(algorithm)) {
    throw new TokenError(`alg ${printable(algorithm)} is not accepted, or not for this key`);
  }
  checkSignedWith(key, algorithm, parts, "jwk");
}

function checkClaims(claims: Claims, settings: DPoP, token: string, now: number): void {
  for (const name of ["jti", "iat", "htm", "htu", "ath"]) {
    if (!Object.hasOwn(claims, name)) throw new TokenError(`${name} is missing`);
  }
  const { htm, htu, ath } = claims;
  if (htm !== METHOD) throw new TokenError(`htm is ${printable(htm)}, not ${METHOD}`);
  const url = typeof htu === "string" ? normalUrl(htu) : null;
  if (url === null || !settings.urls.has(url)) {
    throw new TokenError(`htu is ${printable(htu)}, not ${[...settings.urls].sort().join(" or ")}`);
  }
  if (ath !== hashOf(token)) throw new TokenError("ath is not the hash of the token");
  const issued = claims.iat as number;
  // Written as "not within", so that a clock that returns NaN rejects all proofs.
  if (!(now - issued >= -WINDOW && now - issued <= WINDOW)) {
    throw new TokenError(`issued ${Math.round(now - issued)} s ago, at most ${WINDOW} s before or after`);
  }
  const [notBefore, expires] = ["nbf", "exp"].map((name) => (get(claims, name) as number | undefined) ?? now);
  if (!(Number(notBefore) - WINDOW <= now && now <= Number(expires) + WINDOW)) throw new TokenError("expired, or not yet valid");
}

/** The `ath` of a token: its SHA-256 in base64url (RFC 9449 section 4.2). */
export function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}
