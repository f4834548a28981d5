/** The wire contract: what the guard sends to a client. It is that of `roomkey.guard.contract` in Python. */

import { AUTHENTICATE } from "../core/names.js";
import type { AuthError } from "../errors.js";

export const AUTHENTICATED = "authenticated";
export const UNAUTHORIZED = "unauthorized";
export const TOKEN_EXPIRING = "token_expiring";
export const PERMISSIONS_CHANGED = "permissions_changed";
export const REAUTHENTICATE = "reauthenticate";
export const ERROR = "error";
export const JOIN_ROOM = "join-room";
export const LEAVE_ROOM = "leave-room";

/** Every event that has a meaning of its own. */
export const GUARD_EVENTS: ReadonlySet<string> = new Set([
  ...[AUTHENTICATE, JOIN_ROOM, LEAVE_ROOM],
  ...[AUTHENTICATED, UNAUTHORIZED, TOKEN_EXPIRING, PERMISSIONS_CHANGED, REAUTHENTICATE, ERROR],
]);

/** The message of a CONNECT_ERROR where a middleware refused without one of its own. */
export const DECLINED = "Connection rejected by server";
/** The whole of a CONNECT_ERROR for a namespace that does not exist, as socket.io sends it. */
export const INVALID_NAMESPACE = "Invalid namespace";

/** The argument of `unauthorized`; clients of three generations each find what they look for. */
export function unauthorized(error: AuthError): object {
  return { message: error.message, inner: { message: error.message }, data: error.toClient() };
}

/** The acknowledgement of an event of the guard's own that succeeded. */
export function accepted(): object {
  return { ok: true };
}

/** The acknowledgement of an event that failed. */
export function rejected(error: AuthError): object {
  return { ok: false, error: error.toClient() };
}
