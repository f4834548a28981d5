/**
 * Where the guard stands in engine.io: it counts connections from their opening on, and serves later requests of a session
 * only for its owner.
 */

import { isThenable } from "../core/calls.js";
import type { GuardedConnection } from "./connection.js";
import { type HostConn, type HostEngine, type HostRequest, type HostServer, checkEngine } from "./host.js";

/** Codes of Engine.IO's errors. */
const FORBIDDEN = 4;
const BAD_REQUEST = 3;

/** What decides about requests. */
export interface EngineGate {
  /** A connection opened. */
  accept(conn: HostConn): unknown;
  /** True if an address has too many connections without an admitted socket; reports it. */
  isFull(address: string): boolean;
  /** The guarded connection of a session. */
  connectionOf(conn: HostConn): GuardedConnection;
  log(message: string, error: unknown): void;
}

const guarded = new WeakSet<object>();

/** Guard the engine of a server, and each one that it is attached to later. */
export function guardEngine(server: HostServer, gate: EngineGate): void {
  if (server.engine) guardOne(server.engine, gate);
  const { bind } = server;
  server.bind = function (this: HostServer, engine) {
    const result = bind.call(this, engine);
    guardOne(engine, gate);
    return result;
  };
}

function guardOne(engine: HostEngine, gate: EngineGate): void {
  checkEngine(engine);
  if (guarded.has(engine)) return;
  guarded.add(engine);
  engine.on("connection", (conn) => gate.accept(conn));
  const { verify } = engine;
  engine.verify = function (this: HostEngine, request, upgrade, done) {
    const pass = (code: number | null): void => {
      if (code === null) verify.call(this, request, upgrade, done); // it looks again whether the session is there
      else done(code);
    };
    const decided = refusalOf(this, gate, request);
    if (isThenable(decided)) {
      decided.then(pass, (error: unknown) => {
        gate.log("a request could not be decided, so it is refused", error);
        pass(FORBIDDEN);
      });
    } else pass(decided);
  };
}

/** Why a request is refused, as a code of Engine.IO; null if it is not. */
function refusalOf(engine: HostEngine, gate: EngineGate, request: HostRequest): number | null | Promise<number | null> {
  try {
    const sid = String(request._query?.sid ?? "");
    const address = request.socket?.remoteAddress ?? "";
    if (sid === "") return gate.isFull(address) ? FORBIDDEN : null;
    const conn = Object.hasOwn(engine.clients, sid) ? engine.clients[sid] : undefined;
    if (conn === undefined) return null; // engine.io answers that
    const connection = gate.connectionOf(conn);
    if (connection.isTooLarge(request)) return BAD_REQUEST;
    const owned = connection.owns(request, address);
    return isThenable(owned) ? owned.then((isOwner) => (isOwner ? null : FORBIDDEN)) : owned ? null : FORBIDDEN;
  } catch (error) {
    gate.log("a request could not be decided, so it is refused", error);
    return FORBIDDEN;
  }
}
