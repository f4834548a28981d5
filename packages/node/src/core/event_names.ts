/** Which names an event from a client can have. */

import { ConfigError } from "../errors.js";
import { isWithin } from "./characters.js";

export const AUTHENTICATE = "authenticate";
export const ANY_EVENT = "*";
// Names that Socket.IO's own clients and servers fire themselves, and the name of catch-all rules; from the wire they
// are an attack.
// prettier-ignore
const RESERVED = new Set(["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
  "__disconnect_final", ANY_EVENT]);
// eslint-disable-next-line no-control-regex
const CONTROL = /[\0-\x1f\x7f-\x9f\ud800-\udfff]/u;

/** Return true for a name that a client may send: 1 to 255 code points without control characters. */
export function isEventName(name: unknown): name is string {
  return typeof name === "string" && name !== "" && isWithin(name, 255) && !RESERVED.has(name) && !CONTROL.test(name);
}

/** @throws {ConfigError} the event never reaches a rule. */
export function checkEvent(name: unknown): void {
  if (name === AUTHENTICATE) throw new ConfigError("a rule for the event 'authenticate' has no effect: the guard handles it");
  if (!isEventName(name)) throw new ConfigError(`a rule for the event '${String(name)}' has no effect`);
}
