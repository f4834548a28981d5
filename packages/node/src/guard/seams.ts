/**
 * Where the guard stands in socket.io.
 *
 * One seam is enough for every namespace, static, registered later or dynamic: `Namespace.prototype.run`, which has one
 * signature from 4.0 to 4.8 and comes before every middleware. Servers with connection state recovery need a second one,
 * `Namespace.prototype._createSocket`, because socket.io restores and replays in the socket's constructor. A third one calls
 * the application's listeners. Before all of them, `client_seam.ts` counts what arrives.
 */

import { isThenable } from "../core/calls.js";
import { AuthError, Unavailable } from "../errors.js";
import { type ClientGate, guardClients } from "./client_seam.js";
import { type Deciders, GuardedConnection, hasTooMany } from "./connection.js";
import { guardEngine } from "./engine_sessions.js";
import type { Done, HostConn, HostNamespace, HostServer, HostSocket } from "./host.js";
import { type Emitter, type Failed, type Registrar, callCallbacksSafely, callListenersSafely } from "./listeners.js";
import { type Recovered, isRecovery, recover } from "./recovery.js";
import type { GuardContext, GuardedSocket } from "./socket.js";

/** What stands in front of one server. */
export interface Gate {
  readonly context: GuardContext;
  readonly deciders: Deciders;
}

/** The guard of each server. Namespaces of one copy of socket.io share a prototype, so it is changed once. */
const gates = new WeakMap<object, Gate>();
const clientGates = new WeakMap<object, ClientGate>();
const patched = new WeakSet<object>();
const connections = new WeakMap<HostConn, GuardedConnection>();
const guarded = new WeakMap<object, GuardedSocket>();
const recovered = new WeakMap<object, Recovered>();

/** Put a guard in front of a server. */
export function install(server: HostServer, gate: Gate): void {
  guardClients(server, (guardedServer) => clientGates.get(guardedServer));
  guardEngine(server, {
    accept: (conn) => connectionOf(gate, conn),
    isFull: (address) => hasTooMany(gate.context, address),
    connectionOf: (conn) => connectionOf(gate, conn),
    log: gate.context.settings.log,
  });
  gates.set(server, gate);
  clientGates.set(server, { namespaces: gate.context.namespaces, connectionOf: (conn) => connectionOf(gate, conn) });
  if (server.opts?.connectionStateRecovery) server.opts.connectionStateRecovery.skipMiddlewares = false;
  gate.context.namespaces.watch(server);
  const prototype = Object.getPrototypeOf(server.sockets) as HostNamespace;
  if (patched.has(prototype)) return;
  patched.add(prototype);
  guardConnects(prototype);
  guardRecovery(prototype);
  callListenersSafely(Object.getPrototypeOf(prototype) as Emitter, { event: eventFailed, reserved: reservedFailed });
}

/** True if the server has a guard. */
export function isGuarded(server: object): boolean {
  return gates.has(server);
}

/** The guarded socket of a socket. */
export function guardedSocket(socket: object): GuardedSocket | undefined {
  return guarded.get(socket);
}

function guardConnects(prototype: HostNamespace): void {
  const { run } = prototype;
  prototype.run = function (this: HostNamespace, socket, done) {
    const gate = gates.get(this.server);
    if (gate) connect(gate, socket, done);
    else run.call(this, socket, done);
  };
}

function connect(gate: Gate, socket: HostSocket, done: Done): void {
  guardSockets(Object.getPrototypeOf(socket) as HostSocket & Registrar);
  const { missed = [], release } = recovered.get(socket) ?? {};
  const decided: Done = (error) => {
    done(error);
    if (release) setImmediate(release); // socket.io opens the socket in the next tick
  };
  const connection = connectionOf(gate, socket.client.conn);
  const made = connection.open(socket, release ? decided : done, missed);
  if (made === null) return;
  guarded.set(socket, made);
  connection.decide(made);
}

/** Stand in front of the application's own joins: those of `socket.join`, `socketsJoin`, and of other nodes. */
function guardRooms(prototype: HostSocket): void {
  const { join, leave } = prototype;
  prototype.join = function (this: HostSocket, rooms) {
    const socket = guarded.get(this);
    const gate = gates.get(this.nsp.server);
    if (!socket || !gate) return join.call(this, rooms);
    const joined = gate.deciders.socketAuthorizer.join(socket, rooms, (allowed) => join.call(this, allowed));
    if (isThenable(joined)) joined.then(undefined, (error: unknown) => joinFailed(gate, socket, rooms, error));
    return joined;
  };
  prototype.leave = function (this: HostSocket, room) {
    guarded.get(this)?.forgetRoom(room);
    const left = leave.call(this, room);
    if (isThenable(left)) left.then(undefined, logFailure(this, "leaving a room"));
    return left;
  };
}

/** An adapter could not join a room, which neither socket.io nor every application waits for. */
function joinFailed({ context }: Gate, socket: GuardedSocket, rooms: string | readonly string[], error: unknown): void {
  if (error instanceof AuthError) return; // the policy denied it, and the audit log has a line
  context.settings.log("joining a room failed", error);
  // Nothing that is sent to it alone would arrive.
  if (rooms === socket.host.socket.id) socket.end("expire", new Unavailable("it could not join its own room"));
}

/** The guarded connection of an engine.io connection; also of one that is lost, for what still waits on it. */
function connectionOf({ context, deciders }: Gate, conn: HostConn): GuardedConnection {
  const known = connections.get(conn);
  if (known !== undefined) return known;
  const made = new GuardedConnection(context, deciders, conn);
  connections.set(conn, made);
  return made;
}

function guardRecovery(prototype: HostNamespace): void {
  const { _createSocket: createSocket } = prototype;
  if (!createSocket) return;
  prototype._createSocket = function (this: HostNamespace, client, auth) {
    const gate = gates.get(this.server);
    // `40null` is a CONNECT without a payload; socket.io would fail to read its pid.
    if (!gate || !isRecovery(auth)) return createSocket.call(this, client, auth ?? {});
    const create = createSocket.bind(this, client);
    return recover(connectionOf(gate, client.conn), this, client, auth, create).then((made) => {
      recovered.set(made.socket, made);
      return made.socket;
    });
  };
}

/** All sockets of one copy of socket.io share a prototype, which is known from the first of them on. */
function guardSockets(prototype: HostSocket & Registrar): void {
  if (patched.has(prototype)) return;
  patched.add(prototype);
  guardRooms(prototype);
  callCallbacksSafely(prototype, {
    middleware: (emitter, [name, ...args]) => eventFailed(emitter, String(name), args) ?? logFailure(emitter, "a middleware of a socket"),
    callback: logFailure,
  });
}

function logFailure(socket: object, what: string): Failed {
  return (error) => gates.get((socket as HostSocket).nsp?.server ?? {})?.context.settings.log(`${what} failed`, error);
}

function eventFailed(emitter: object, event: string, args: unknown[]): Failed | null {
  const socket = guarded.get(emitter);
  if (socket === undefined) return namespaceEventFailed(emitter as HostNamespace, event);
  return (error) => {
    const last = args.at(-1);
    const acknowledge = typeof last === "function" ? (last as (data: object) => void) : null;
    gates.get(socket.host.socket.nsp.server)?.deciders.events.handlerFailed(socket, error, event, acknowledge);
  };
}

/** Another node emitted an event with `serverSideEmit`. */
function namespaceEventFailed({ server }: HostNamespace, event: string): Failed | null {
  const gate = gates.get(server ?? {});
  return gate === undefined ? null : (error) => gate.context.settings.log(`a listener of '${event}' failed`, error);
}

function reservedFailed(emitter: object, event: string, args: unknown[]): Failed | null {
  const gate = gates.get((emitter as HostNamespace).server ?? {});
  if (gate === undefined) return null;
  return (error) => {
    gate.context.settings.log(`a listener of '${event}' failed`, error);
    const socket = event === "connection" || event === "connect" ? guarded.get(args[0] as object) : undefined;
    // Its handlers may be missing: the client must not wait for them.
    socket?.end("expire", new Unavailable("a listener of 'connection' failed"));
  };
}
