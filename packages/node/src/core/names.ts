/** Names of users, events, rooms and roles: their form, and those with a meaning of their own. */

import { ConfigError } from "../errors.js";
import { isClean, isWithin } from "./characters.js";

export const MAX_NAME = 255;
export const MAX_NAMES = 1000;
// 15 random bytes in base64url, on every host; on a Python hub with a cluster, its sealed node follows.
const SID = /^[A-Za-z0-9_-]{20}(?:\.[A-Za-z0-9_-]{20})?$/;

export const AUTHENTICATE = "authenticate";
export const ANY_EVENT = "*";
// Names that Socket.IO's own clients and servers fire themselves, and the name of catch-all rules; from the wire they
// are an attack.
// prettier-ignore
const RESERVED = new Set(["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
  "__disconnect_final", ANY_EVENT]);
// eslint-disable-next-line no-control-regex
const CONTROL = /[\0-\x1f\x7f-\x9f\ud800-\udfff]/u;

/** Return true for a string of 1 to 255 code points, all of which {@link isClean} accepts. */
export function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "" && isWithin(value, MAX_NAME) && isClean(value);
}

/** Return true for a name that a client may send: 1 to 255 code points without control characters. */
export function isEventName(name: unknown): name is string {
  return typeof name === "string" && name !== "" && isWithin(name, MAX_NAME) && !RESERVED.has(name) && !CONTROL.test(name);
}

/** @throws {ConfigError} the event never reaches a rule. */
export function checkEvent(name: unknown): void {
  if (name === AUTHENTICATE) throw new ConfigError("a rule for the event 'authenticate' has no effect: the guard handles it");
  if (!isEventName(name)) throw new ConfigError(`a rule for the event '${String(name)}' has no effect`);
}

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
