/** Tokens in `socket.handshake`, which adapters send to other nodes (`fetchSockets`) and applications log. */

import { PAYLOAD_MEMBERS, type Sources, headerName } from "../core/credentials.js";
import { isObject } from "../core/strict_json.js";
import type { HostSocket } from "./host.js";

/** Hide the tokens of a handshake: code that names them reads them, but they are not copied, logged or sent along. */
export function hideTokens(handshake: HostSocket["handshake"], sources: Required<Sources>): void {
  const { auth, cookie, query } = sources;
  hide(handshake.auth, typeof auth === "string" ? [...PAYLOAD_MEMBERS, auth] : PAYLOAD_MEMBERS);
  hide(handshake.headers, ["authorization", headerName(sources), ...(cookie === null ? [] : ["cookie"])]);
  if (query === null) return;
  hide(handshake.query, [query]);
  hide(handshake, ["url"]);
}

function hide(holder: unknown, names: readonly string[]): void {
  if (!isObject(holder)) return;
  for (const name of names) if (Object.hasOwn(holder, name)) Object.defineProperty(holder, name, { enumerable: false });
}
