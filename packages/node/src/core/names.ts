/** Lists of names, as claims and parameters have them. */

import { isName } from "./claims.js";

export const MAX_NAMES = 1000;
const SID = /^[A-Za-z0-9_-]{20}$/; // 15 random bytes in base64url, on every host

/**
 * A list of names out of a claim, or nothing at all. A claim of another form (a string where a list belongs, an object, a
 * list with a number in it, more than 1000 entries) grants nothing: `"redteam".includes("red")` must never open a room.
 */
export function names(value: unknown): readonly string[] {
  return Array.isArray(value) && value.length <= MAX_NAMES && value.every(isName) ? (value as string[]) : [];
}

/** True for a name that could be a socket's ID: on another node, such a room receives that client's messages. */
export function looksLikeSid(room: string): boolean {
  return SID.test(room);
}
