/**
 * The compact form of a signed token (RFC 7515 section 7.1), read strictly: each token has one spelling and one meaning.
 * Only the signature is a library's work (node:crypto).
 */

import { AlgorithmNotAllowed, BadSignature, ConfigError, MalformedToken, UnknownKey } from "../errors.js";
import { isWithin } from "./characters.js";
import type { KeySet } from "./key_set.js";
import { type Key, MAX_KID } from "./keys.js";
import { printable } from "./printable.js";
import { isObject, loads } from "./strict_json.js";

/** The longest token in bytes, unless a verifier says otherwise; checked before anything is decoded. */
export const MAX_TOKEN = 8192;
/** The longest that a verifier can be told to accept, in bytes. */
export const LONGEST_TOKEN = 65_536;

// `crit` and `b64` change what a signature means, `jwk`, `jku`, `x5u` and `x5c` bring a key of the sender's choice,
// `zip` and `enc` belong to encryption, `cty: JWT` nests a token. Everything else is ignored (RFC 7515, section 4).
export const REFUSED_MEMBERS: readonly string[] = ["b64", "crit", "cty", "enc", "jku", "jwk", "x5c", "x5u", "zip"];
/** Members that a verifier can be told to ignore. They only say where the key is, and roomkey never follows them. */
const TOLERABLE_MEMBERS = ["jku", "x5c", "x5u"];
const TYPES = new Set(["jwt", "at+jwt", "application/at+jwt"]); // RFC 7519 section 5.1, RFC 9068 section 4
const ALPHABET = /^[A-Za-z0-9_-]*$/;
// A last character carries 4 or 2 unused bits, which must be zero, or one token has several spellings.
const LAST: Record<number, string> = { 2: "AQgw", 3: "AEIMQUYcgkosw048" };
const MAX_HEADERS = 256;

/** A checked JOSE header (RFC 7515 section 4). */
export interface Header {
  algorithm: string;
  kid: string | null;
  type: string | null;
}

/** A token taken apart, nothing of it believed yet. */
export interface Parts<H = Header> {
  header: H;
  payload: Buffer;
  signingInput: Buffer;
  signature: Buffer;
}

/** @throws {ConfigError} not a whole number of bytes from 1 to {@link LONGEST_TOKEN}. */
export function checkMaxToken(value: unknown): number {
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > LONGEST_TOKEN) {
    throw new ConfigError(`maxToken must be a whole number of bytes from 1 to ${LONGEST_TOKEN}`);
  }
  return value as number;
}

/** @throws {ConfigError} not a list, or it contains a member that cannot be ignored. */
export function checkTolerated(names: unknown): readonly string[] {
  if (!Array.isArray(names) || !names.every((name) => TOLERABLE_MEMBERS.includes(name as string))) {
    throw new ConfigError(`tolerateHeader can list ${TOLERABLE_MEMBERS.join(", ")}, and nothing else`);
  }
  return names as readonly string[];
}

function notThree(parts: number): string {
  if (parts > 1) return `${parts} parts instead of 3`;
  return "not a JSON Web Token; to verify opaque tokens, ask their issuer (introspection)";
}

/**
 * Take a token apart.
 *
 * @param parse reads the header; {@link headerParser} makes one.
 * @throws {MalformedToken} not the strict compact form, or a header that roomkey refuses.
 * @throws {BadSignature} the third part is empty.
 * @throws {AlgorithmNotAllowed} the header names no algorithm.
 */
export function split<H>(parse: (part: string) => H, token: unknown, maxToken: number): Parts<H> {
  if (typeof token !== "string") {
    throw new MalformedToken(`a ${typeof token} instead of a string`, { message: "invalid token datatype" });
  }
  if (token === "") throw new MalformedToken("empty", { message: "jwt must be provided" });
  const malformed = { message: "jwt malformed" };
  if (token.length > maxToken) throw new MalformedToken(`${token.length} characters, at most ${maxToken}`, malformed);
  // eslint-disable-next-line no-control-regex
  if (!/^[\0-\x7f]*$/.test(token)) throw new MalformedToken("characters outside ASCII", malformed);
  const [header, payload, signature, ...more] = token.split(".");
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    throw new MalformedToken(notThree(token.split(".").length), malformed);
  }
  if (signature === "") throw new BadSignature("no signature", { message: "jwt signature is required" });
  return {
    header: parse(header),
    payload: decodePart(payload),
    signingInput: Buffer.from(token.slice(0, -signature.length - 1), "latin1"),
    signature: decodePart(signature),
  };
}

/** Decode one base64url part without padding (RFC 7515 section 2). */
export function decodePart(part: string): Buffer {
  const rest = part.length % 4;
  if (rest === 1 || (rest !== 0 && !LAST[rest]?.includes(part.charAt(part.length - 1)))) {
    throw new MalformedToken("base64url with stray bits");
  }
  if (!ALPHABET.test(part)) throw new MalformedToken("characters outside base64url");
  return Buffer.from(part, "base64url");
}

/** Make a function that reads headers without the tolerated members, and remembers them: all tokens of a key share one. */
export function headerParser(tolerated: readonly string[] = []): (part: string) => Header {
  const refused = REFUSED_MEMBERS.filter((name) => !tolerated.includes(name));
  const headers = new Map<string, Header>();
  return (part) => {
    const known = headers.get(part);
    if (known) return known;
    const header = checkHeader(part, TYPES, refused);
    if (headers.size >= MAX_HEADERS) headers.clear();
    headers.set(part, header);
    return header;
  };
}

/** Reads the headers of tokens, and tolerates nothing. */
export const parseHeader = headerParser();

/** Make a function that reads the headers of signed documents that are not access tokens, and have this `typ`. */
export function documentHeaderParser(type: string): (part: string) => Header {
  return (part) => checkHeader(part, new Set([type]), REFUSED_MEMBERS);
}

function checkHeader(part: string, types: ReadonlySet<string>, refusedMembers: readonly string[]): Header {
  const members = jsonObject(decodePart(part), "header");
  const has = (name: string): boolean => Object.hasOwn(members, name);
  const refused = refusedMembers.find(has);
  if (refused !== undefined) throw new MalformedToken(`header member ${refused} is not accepted`);
  const algorithm = has("alg") ? members.alg : undefined;
  if (typeof algorithm !== "string") throw new AlgorithmNotAllowed("the header names no alg");
  const kid = has("kid") ? members.kid : null;
  if (has("kid") && !(typeof kid === "string" && kid.length > 0 && isWithin(kid, MAX_KID))) {
    throw new MalformedToken(`kid must be a string of 1 to ${MAX_KID} characters`);
  }
  const type = has("typ") ? members.typ : null;
  if (has("typ") && !(typeof type === "string" && types.has(type.toLowerCase()))) {
    throw new MalformedToken(`typ ${printable(type)} is not ${[...types].join(" or ")}`);
  }
  return { algorithm, kid: kid as string | null, type: typeof type === "string" ? type.toLowerCase() : null };
}

/** @throws {MalformedToken} not UTF-8, not strict JSON, or not an object. */
export function jsonObject(data: Buffer, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = loads(data);
  } catch (error) {
    throw new MalformedToken(`${what}: ${error instanceof Error ? error.message : "not JSON"}`);
  }
  if (!isObject(value)) throw new MalformedToken(`${what}: not an object`);
  return value;
}

/**
 * Find the key and check the signature. The key is bound to its algorithms; the header only chooses among them.
 *
 * @throws {AlgorithmNotAllowed} not in the list, or not one of the key's.
 * @throws {UnknownKey} no key of that `kid`, or no `kid` where several keys fit the algorithm.
 * @throws {BadSignature} it does not verify.
 */
export function checkSignature(parts: Parts, keys: KeySet, algorithms: readonly string[]): void {
  const { algorithm } = parts.header;
  if (!algorithms.includes(algorithm)) {
    throw new AlgorithmNotAllowed(`alg ${printable(algorithm)}, accepted: ${algorithms.join(", ")}`);
  }
  const key = findKey(parts.header, keys);
  checkSignedWith(key, algorithm, parts, `key ${printable(key.kid)}`);
}

/** Check a signature with one key, which is for this algorithm; `name` is the key's, for the log. */
export function checkSignedWith(key: Key, algorithm: string, parts: Parts<unknown>, name: string): void {
  let valid = false;
  try {
    valid = key.verify(algorithm, parts.signingInput, parts.signature);
  } catch {
    throw new BadSignature("the signature could not be checked");
  }
  if (!valid) throw new BadSignature(`the signature is not that of ${name}`);
}

/** Find the one key that the `kid` and `alg` of a header name. */
function findKey(header: Header, keys: KeySet): Key {
  const named = keys.named(header.kid);
  if (named.length === 0) throw new UnknownKey(`no key with kid ${printable(header.kid)}`);
  const fitting = named.filter((key) => key.algorithms.includes(header.algorithm));
  if (fitting.length > 1) throw new UnknownKey(`no kid, but ${fitting.length} keys fit ${header.algorithm}`);
  if (fitting[0]) return fitting[0];
  const usable = [...new Set(named.flatMap((key) => key.algorithms))].sort().join(", ");
  throw new AlgorithmNotAllowed(`alg ${header.algorithm}, but what it could be verified with is for ${usable}`);
}
