/** Tokens in `socket.handshake`, which adapters send to other nodes (`fetchSockets`) and applications log. */

import { PAYLOAD_MEMBERS, type Sources } from "../core/credentials.js";
import { isObject } from "../core/strict_json.js";
import type { HostSocket } from "./host.js";

/** Hide the tokens of a handshake: code that names them reads them, but they are not copied, logged or sent along. */
export function hideTokens(handshake: HostSocket["handshake"], { cookie, query }: Required<Sources>): void {
  hide(handshake.auth, PAYLOAD_MEMBERS);
  hide(handshake.headers, cookie === null ? ["authorization"] : ["authorization", "cookie"]);
  if (query === null) return;
  hide(handshake.query, [query]);
  hide(handshake, ["url"]);
}

function hide(holder: unknown, names: readonly string[]): void {
  if (!isObject(holder)) return;
  for (const name of names) if (Object.hasOwn(holder, name)) Object.defineProperty(holder, name, { enumerable: false });
}
