/**
 * The Cookie header, and tokens that are split into several cookies: a browser keeps about 4,000 characters in one. Auth.js,
 * Better Auth and the Supabase client write `name.0`, `name.1` and so on; Chainlit and mod_auth_openidc write `name_0`.
 */

import { CredentialsBadFormat, MalformedToken } from "../errors.js";
import { strip } from "./characters.js";
import { LONGEST_TOKEN } from "./jws.js";

/** Cookies into which one token can be split. */
export const MAX_CHUNKS = 32;

const CHUNK = /^([._])(0|[1-9][0-9]*)$/;
/** The values of each chunk by its number, as it is written. */
type Chunks = Map<string, Set<string>>;

/**
 * Every value of a cookie that is not empty (RFC 6265 section 5.4): a neighbor domain can set a second one of the same name.
 * A value that is split into chunks is put together. Where the whole cookie has a value, chunks without a first one are
 * cookies of another purpose.
 *
 * @throws {CredentialsBadFormat} a chunk is missing, or there is more than one value in chunks or as a whole.
 * @throws {MalformedToken} too many chunks, or a value that is longer than any token.
 */
export function tokenCookies(header: string, name: string): string[] {
  const whole: string[] = [];
  const chunks = new Map<string, Chunks>();
  for (const pair of header.split(";")) {
    const equals = pair.indexOf("=");
    const key = strip(pair.slice(0, Math.max(equals, 0)));
    const value = strip(strip(pair.slice(equals + 1)), /"/);
    if (equals < 0 || value === "" || !key.startsWith(name)) continue;
    if (key === name) whole.push(value);
    else keep(chunks, CHUNK.exec(key.slice(name.length)), value);
  }
  const split = [...chunks.values()].filter((parts) => parts.has("0") || whole.length === 0);
  if (split[0] === undefined) return whole;
  if (whole.length > 0 || split.length > 1) throw several(name);
  return [join(name, split[0])];
}

function keep(chunks: Map<string, Chunks>, found: RegExpExecArray | null, value: string): void {
  if (found === null) return;
  const [, separator = "", number = ""] = found;
  const parts: Chunks = chunks.get(separator) ?? new Map();
  chunks.set(separator, parts);
  parts.set(number, (parts.get(number) ?? new Set()).add(value));
}

function join(name: string, parts: Chunks): string {
  const values = [...parts.values()];
  const length = values.reduce((sum, each) => sum + [...each].reduce((inner, value) => inner + value.length, 0), 0);
  if (parts.size > MAX_CHUNKS || length > LONGEST_TOKEN) {
    throw new MalformedToken(`${parts.size} chunks of the cookie, ${length} characters`, { message: "jwt malformed" });
  }
  if (values.some((each) => each.size > 1)) throw several(name);
  const ordered = [...parts.keys()].map((_, number) => parts.get(String(number)));
  if (ordered.includes(undefined)) {
    throw new CredentialsBadFormat(`not every chunk of ${name}`, { message: "a part of the token cookie is missing" });
  }
  return ordered.flatMap((each) => [...(each ?? [])]).join("");
}

function several(name: string): CredentialsBadFormat {
  return new CredentialsBadFormat(`several values of the cookie ${name} or of its chunks`, { message: "more than one token provided" });
}
