/** Where the guard stands in a client of socket.io: what arrives on a connection is counted before anything is made for it. */

import { ConfigError } from "../errors.js";
import type { GuardedConnection } from "./connection.js";
import { INVALID_NAMESPACE } from "./contract.js";
import type { DynamicNamespaces } from "./dynamic_namespaces.js";
import { CONNECT, CONNECT_ERROR, type HostClient, type HostConn, type HostServer } from "./host.js";

/** What decides about the clients of one server. */
export interface ClientGate {
  readonly namespaces: DynamicNamespaces;
  connectionOf(conn: HostConn): GuardedConnection;
}

export type GateOf = (server: object) => ClientGate | undefined;

const patched = new WeakSet<object>();

/** @throws {ConfigError} the clients of the server have not every name that the guard uses. */
export function guardClients(server: HostServer, gateOf: GateOf): void {
  const prototype = clientPrototype(server);
  if (patched.has(prototype)) return;
  patched.add(prototype);
  guardConnects(prototype, gateOf);
  guardPackets(prototype, gateOf);
}

function guardConnects(prototype: HostClient, gateOf: GateOf): void {
  const { connect } = prototype;
  prototype.connect = function (this: HostClient, name, auth) {
    const gate = gateOf(this.server);
    if (gate === undefined) {
      connect.call(this, name, auth);
      return;
    }
    const connection = gate.connectionOf(this.conn);
    if (!connection.asks(name, this.nsps)) return;
    connection.attempt(() =>
      gate.namespaces.find(name, auth, (exists) => {
        if (!connection.found(name, exists)) return;
        if (exists) gate.namespaces.join(name, connection, () => this.doConnect(name, auth));
        else this._packet({ type: CONNECT_ERROR, nsp: name, data: { message: INVALID_NAMESPACE } });
      }),
    );
  };
}

function guardPackets(prototype: HostClient, gateOf: GateOf): void {
  const { ondata, ondecoded } = prototype;
  prototype.ondata = function (this: HostClient, data) {
    if (isBinaryPacket(data) && gateOf(this.server)?.connectionOf(this.conn).isTooEarly()) return;
    ondata.call(this, data);
  };
  prototype.ondecoded = function (this: HostClient, packet) {
    const isAstray = packet.type !== CONNECT && !this.nsps.has(packet.nsp ?? "");
    if (isAstray && gateOf(this.server)?.connectionOf(this.conn).isUnasked()) return;
    ondecoded.call(this, packet);
  };
}

/** True for the text of a packet that attachments follow (types 5 and 6); the parser does not tell it from others later. */
function isBinaryPacket(data: unknown): boolean {
  return typeof data === "string" && (data.startsWith("5") || data.startsWith("6"));
}

/**
 * The prototype of the server's clients. Nothing leads to it before the first connection, so a server that stands in for the
 * real one is given a connection of protocol 3, which joins `/` at once.
 */
function clientPrototype(server: HostServer): HostClient {
  let client: Partial<HostClient> | undefined;
  const root = { _add: (found: HostClient) => (client = found) };
  const standIn = {
    _nsps: new Map([["/", root]]),
    _parser: { Decoder: class { on(): void {} } },
    _connectTimeout: 0x7fffffff,
    of: () => root,
  };
  try {
    server.onconnection.call(standIn, { id: "", protocol: 3, on: () => undefined });
  } catch {
    // the names are missing
  }
  clearTimeout(client?.connectTimeout);
  const names = ["connect", "doConnect", "ondata", "ondecoded", "_packet"] as const;
  const missing = names.filter((name) => typeof client?.[name] !== "function").map((name) => `Client.prototype.${name}`);
  if (client === undefined || missing.length > 0) {
    throw new ConfigError(`cannot guard this server: ${missing.join(", ")} is missing; supported are socket.io 4.0 to 4.8`);
  }
  return Object.getPrototypeOf(client) as HostClient;
}
