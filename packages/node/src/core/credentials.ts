/**
 * Where clients present tokens, and the search for the token of a client.
 *
 * Every source is switched on by name. Exactly one token wins; two different ones are rejected, because a proxy, a log and
 * the server would each believe another of them. An empty place is not a token, and neither is what another scheme of the
 * `Authorization` header carries: browsers repeat their proxy's login with every request.
 */

import {
  AuthError,
  ConfigError,
  CredentialsBadFormat,
  CredentialsError,
  MalformedToken,
  MissingAuthorizationHeader,
} from "../errors.js";
import { strip } from "./characters.js";
import { tokenCookies } from "./cookies.js";
import { LONGEST_TOKEN } from "./jws.js";
import { checkNames } from "./options.js";
import { isObject } from "./strict_json.js";

/** Members of a payload that can be a token. */
export const PAYLOAD_MEMBERS = ["token", "access_token", "auth_token"];
const PROOF_MEMBER = "dpop";
const MAX_PRESENTED = LONGEST_TOKEN + "Bearer ".length; // a verifier has its own limit, which is lower

/** A token as it was presented: not verified. */
export interface Credential {
  token: string;
  source: "auth" | "header" | "cookie" | "query" | "event" | "";
  /** The DPoP proof next to the token, of any type; missing without one. */
  proof?: unknown;
}

/** The places where a handshake may present a token. */
export interface Sources {
  /** The CONNECT packet's `auth` payload (`token`, `access_token` or `auth_token`), or its member with this name. Default: true. */
  auth?: boolean | string;
  /**
   * The `Authorization` header (RFC 6750 section 2.1), or instead the header with this name, which has the token alone or
   * `Bearer <token>`. Default: true.
   */
  header?: boolean | string;
  /** The name of a cookie. The token can be split: `name.0`, `name.1` and so on, or `name_0`, `name_1`. Default: none. */
  cookie?: string | null;
  /** The name of a query parameter. URLs are logged, so it is off unless named. */
  query?: string | null;
}

/**
 * True if a browser may have sent the cookie of a request for a page of an allowed origin. A cookie comes with the requests
 * of every page, and socket.io accepts WebSockets of all origins.
 */
export function isCookieOfAllowedPage(headers: Headers, origins: readonly string[]): boolean {
  const { origin } = headers;
  if (typeof origin === "string") return origins.includes(origin);
  return origin === undefined && headers["sec-fetch-site"] === "same-origin"; // a page's GET to its own server
}

type Headers = Record<string, string | string[] | undefined>;

/** What the HTTP request of a connection carried, as far as tokens may be in it. */
export interface Carried {
  /** The `Authorization` header, or the one that `header` names. */
  authorization?: string | undefined;
  cookie?: string | undefined;
  query?: string | undefined;
}

const AUTHORIZATION = "authorization";
const MEMBER = /^(?!dpop$)[^]+$/;
const HEADER = /^(?!cookie$)[a-z0-9-]+$/i;

function isName(value: unknown, names: RegExp): boolean {
  return typeof value === "string" && names.test(value);
}

/** The name, in lower case, of the header that requests present tokens in. */
export function headerName({ header }: Sources): string {
  return typeof header === "string" ? header.toLowerCase() : AUTHORIZATION;
}

/** The members of the `auth` payload that can be a token. */
function membersOf({ auth }: Sources): readonly string[] {
  return typeof auth === "string" ? [auth] : PAYLOAD_MEMBERS;
}

/** @throws {ConfigError} no source at all, or a source of a wrong type. */
export function checkSources(sources: Sources): Required<Sources> {
  checkNames(sources, { auth: true, header: true, cookie: true, query: true });
  const checked = { auth: true, header: true, cookie: null, query: null, ...sources };
  if (typeof checked.auth !== "boolean" && !isName(checked.auth, MEMBER)) {
    throw new ConfigError("auth must be true, false or the name of a member other than dpop, such as 'jwt'");
  }
  if (typeof checked.header !== "boolean" && !isName(checked.header, HEADER)) {
    throw new ConfigError("header must be true, false or the name of a header other than Cookie (letters, digits and hyphens), such as 'X-Token'");
  }
  for (const name of ["cookie", "query"] as const) {
    const value: unknown = checked[name];
    if (value !== null && !(typeof value === "string" && value)) throw new ConfigError(`${name} must be the name of a ${name}`);
  }
  if (!(checked.auth || checked.header || checked.cookie || checked.query)) {
    throw new ConfigError("a handshake needs a source: auth, header, cookie or query");
  }
  return checked;
}

/**
 * Find the token of a handshake: the first source that has one, in the order auth, header, query, cookie. A cookie counts
 * where there is nothing else: the browser sends it along, whatever the page presents.
 *
 * @throws {CredentialsError} no token was presented, or something else than one token.
 * @throws {MalformedToken} a payload without a usable token in it.
 */
export function fromHandshake(sources: Required<Sources>, auth: unknown, request: Carried): Credential {
  const found: Credential[] = [];
  let failed: unknown = null;
  for (const [source, value] of presentedIn(sources, auth, request)) {
    if (source === "cookie" && found[0] && found[0].source !== source) break;
    try {
      if (value instanceof AuthError) throw value;
      if (source === "auth") found.push({ token: payloadToken(value, membersOf(sources)), source, ...proofIn(value) });
      else found.push({ token: source === "header" ? headerToken(value, sources) : bareToken(value), source });
    } catch (error) {
      if (!(error instanceof AuthError)) throw error;
      failed ??= error;
    }
  }
  if (!found[0]) {
    if (failed !== null) throw failed;
    const others = sources.auth || sources.cookie || sources.query;
    const headerAlone = sources.header && !others && headerName(sources) === AUTHORIZATION;
    throw headerAlone ? new MissingAuthorizationHeader() : new CredentialsError();
  }
  const isProved = found.length > 1 && found[0].proof !== undefined; // RFC 9449 section 7.2
  if (isProved || found.some((other) => other.token !== found[0]?.token)) {
    const where = found.map((other) => other.source).join(", ");
    throw new CredentialsBadFormat(`${isProved ? "tokens, one of them with a DPoP proof," : "different tokens"} in ${where}`, { message: "more than one token provided" });
  }
  return found[0];
}

/**
 * Find the token of an `authenticate` event: the first argument is an object with the token, what follows is ignored.
 *
 * @throws {CredentialsError} no argument.
 * @throws {MalformedToken} an argument without a usable token in it.
 */
export function fromEvent(args: readonly unknown[]): Credential {
  if (args[0] === undefined || args[0] === null) throw new CredentialsError();
  return { token: payloadToken(args[0], PAYLOAD_MEMBERS), source: "event", ...proofIn(args[0]) };
}

/** True if the handshake presents something for a token: a client that has none yet may send an empty place. */
export function hasCredentials(sources: Required<Sources>, auth: unknown, request: Carried): boolean {
  for (const _ of presentedIn(sources, auth, request)) return true;
  return false;
}

function* presentedIn(sources: Required<Sources>, auth: unknown, request: Carried): Generator<[Credential["source"], unknown]> {
  if (sources.auth && auth !== undefined && auth !== null && (!isObject(auth) || members(auth, membersOf(sources)).length > 0)) {
    yield ["auth", auth];
  }
  if (sources.header && request.authorization && !isEmptyHeader(request.authorization, sources)) {
    yield ["header", request.authorization];
  }
  if (sources.query && request.query) {
    for (const value of queryValues(request.query, sources.query)) yield ["query", value];
  }
  if (sources.cookie && request.cookie) {
    for (const value of cookiesIn(request.cookie, sources.cookie)) yield ["cookie", value];
  }
}

/** The values of the cookie; where its chunks are not one whole token, the error for that. */
function cookiesIn(header: string, name: string): readonly unknown[] {
  try {
    return tokenCookies(header, name);
  } catch (error) {
    if (!(error instanceof AuthError)) throw error;
    return [error];
  }
}

/** True for a header that presents no token. A header other than `Authorization` has no other purpose. */
function isEmptyHeader(value: string, sources: Sources): boolean {
  return headerName(sources) === AUTHORIZATION ? isAnotherScheme(value) : trimmed(value) === "";
}

function headerToken(value: unknown, sources: Sources): string {
  if (headerName(sources) === AUTHORIZATION) return bareToken(value);
  if (String(value).includes(",")) { // the header was sent twice (RFC 9110 section 5.3)
    throw new CredentialsBadFormat(`several values in ${headerName(sources)}`, { message: "more than one token provided" });
  }
  return bareToken(trimmed(String(value)));
}

function trimmed(value: string): string {
  return value.replace(/^[ \t]+|[ \t]+$/g, "");
}

/** True for an `Authorization` header without a token: `Basic …`. Where it also names Bearer or DPoP, it has one. */
function isAnotherScheme(authorization: string): boolean {
  const words = strip(authorization.toLowerCase()).split(/\s+/);
  return words.length > 1 && !words.includes("bearer") && !words.includes("dpop");
}

/** Every value of a query parameter that is not empty (as `parse_qs` reads it). */
function queryValues(query: string, name: string): string[] {
  const pairs = query.split("&").filter((pair) => pair.includes("="));
  const read = pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)].map(decode));
  return read.filter(([key, value]) => key === name && value !== "").map(([, value]) => value ?? "");
}

function decode(text: string): string {
  const spaced = text.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced; // a token has no broken escapes, so it is malformed either way
  }
}

function payloadToken(payload: unknown, names: readonly string[]): string {
  const datatype = { message: "invalid token datatype" };
  if (!isObject(payload)) throw new MalformedToken(`the payload is a ${typeof payload}, not an object`, datatype);
  const filled = members(payload, names);
  const values = filled.length > 0 ? filled : names.filter((name) => Object.hasOwn(payload, name)).map((name) => payload[name]);
  if (values.length === 0) throw new MalformedToken("the payload has no token in it", datatype);
  const tokens = new Set(values.map(bareToken));
  if (tokens.size > 1) {
    throw new CredentialsBadFormat("different tokens in one payload", { message: "more than one token provided" });
  }
  return [...tokens][0] ?? "";
}

/** The DPoP proof in a payload that has a token, if there is one. */
function proofIn(payload: unknown): { proof?: unknown } {
  const proof = isObject(payload) && Object.hasOwn(payload, PROOF_MEMBER) ? payload[PROOF_MEMBER] : null;
  return proof === null || proof === undefined || proof === "" ? {} : { proof };
}

/** What is where a token may be, and is not empty. */
function members(payload: Record<string, unknown>, names: readonly string[]): unknown[] {
  const found = names.filter((name) => Object.hasOwn(payload, name)).map((name) => payload[name]);
  return found.filter((value) => value !== null && value !== undefined && value !== "");
}

/** Take the scheme off: `Bearer <token>` in any letter case, or the token alone. */
export function bareToken(value: unknown): string {
  if (typeof value !== "string") {
    throw new MalformedToken(`the token is a ${typeof value}, not a string`, { message: "invalid token datatype" });
  }
  if (value.length > MAX_PRESENTED) throw new MalformedToken(`${value.length} characters`, { message: "jwt malformed" });
  if (value === "") throw new MalformedToken("empty", { message: "jwt must be provided" });
  const [first = "", second, ...more] = value.split(" ");
  const isBearer = first.toLowerCase() === "bearer";
  if (second === undefined && !isBearer) return first;
  if (isBearer && second && more.length === 0) return second;
  throw new CredentialsBadFormat("not 'Bearer <token>' and not a bare token");
}
