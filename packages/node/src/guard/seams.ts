/**
 * Where the guard stands in socket.io. The only file that changes its objects.
 *
 * One seam is enough for every namespace, static, registered later or dynamic: `Namespace.prototype.run`, which has one
 * signature from 4.0 to 4.8 and comes before every middleware. Servers with connection state recovery need a second one,
 * `Namespace.prototype._createSocket`, because socket.io restores and replays in the socket's constructor. The third one
 * calls the application's listeners, so that what they throw reaches the client as an error and does not end the process.
 */

import { fromHandshake } from "../core/credentials.js";
import type { Identity } from "../core/identity.js";
import { AuthError, ProtocolViolation, Unavailable } from "../errors.js";
import { isThenable } from "./authorizer.js";
import { GuardedConnection, carriedBy } from "./connection.js";
import type { Core } from "./core.js";
import type { Done, HostClient, HostNamespace, HostServer, HostSocket, Session } from "./host.js";
import { GuardedSocket } from "./socket.js";

/** The guard of each server. Namespaces of one copy of socket.io share a prototype, so it is changed once. */
const guards = new WeakMap<object, Core>();
const patched = new WeakSet<object>();
const guarded = new WeakMap<object, GuardedSocket>();
/** What a restored socket brings along: the packets it missed, and the rooms that the policy had let it into. */
const restored = new WeakMap<object, { missed: readonly unknown[]; rooms: readonly string[] }>();

/** Put a guard in front of a server. */
export function install(server: HostServer, core: Core): void {
  guards.set(server, core);
  if (server.opts?.connectionStateRecovery) server.opts.connectionStateRecovery.skipMiddlewares = false;
  const prototype = Object.getPrototypeOf(server.sockets) as HostNamespace;
  if (patched.has(prototype)) return;
  patched.add(prototype);
  const { run, _createSocket: createSocket } = prototype;
  prototype.run = function (this: HostNamespace, socket, done) {
    const own = guards.get(this.server);
    if (own) connect(own, this, socket, done);
    else run.call(this, socket, done);
  };
  if (createSocket) {
    prototype._createSocket = async function (this: HostNamespace, client, auth) {
      const own = guards.get(this.server);
      const create = createSocket.bind(this, client);
      // `40null` is a CONNECT without a payload; socket.io would fail to read its pid.
      return own && isRecovery(auth) ? recover(own, this, client, auth, create) : create(auth ?? {});
    };
  }
  callListenersSafely(Object.getPrototypeOf(prototype) as Emitter);
}

/** True if the server has a guard. */
export function isGuarded(server: object): boolean {
  return guards.has(server);
}

/** The guarded socket of a socket, if it is admitted. */
export function guardedSocket(socket: object): GuardedSocket | undefined {
  return guarded.get(socket);
}

function connectionOf(core: Core, client: HostClient): GuardedConnection {
  let connection = core.connections.get(client);
  if (connection === undefined) {
    connection = new GuardedConnection(core, client);
    core.connections.set(client, connection);
  }
  return connection;
}

/** A CONNECT arrived. Whatever fails here is a refusal. */
function connect(core: Core, namespace: HostNamespace, socket: HostSocket, done: Done): void {
  const { client } = socket;
  const connection = connectionOf(core, client);
  const problem = problemOf(core, connection, namespace);
  if (problem !== null || client.conn.readyState !== "open") {
    if (problem !== null) connection.violation(problem);
    if (client.conn.readyState !== "open") core.forget(connection);
    done(new ProtocolViolation(problem ?? "closed"));
    return;
  }
  const made = new GuardedSocket(core, connection, socket, done);
  const { missed = [], rooms = [] } = restored.get(socket) ?? {};
  made.missed = missed;
  for (const room of rooms) made.rooms.add(room);
  connection.sockets.set(namespace.name, made);
  guarded.set(socket, made);
  try {
    made.begin();
  } catch (error) {
    core.options.log("a CONNECT could not be decided, so it is refused", error);
    made.gone();
    connection.close();
  }
}

/** What is wrong with a CONNECT before its token is looked at, or null. */
function problemOf(core: Core, connection: GuardedConnection, namespace: HostNamespace): string | null {
  if (connection.client.conn.protocol === 3) return "a client of Socket.IO 2";
  // All versions let two CONNECTs for one namespace race while a middleware waits; 4.0 to 4.4 let them come later, too.
  if (connection.sockets.has(namespace.name) || connection.client.nsps.has(namespace.name)) {
    return "a namespace that was asked for already";
  }
  if (connection.sockets.size >= core.options.maxNamespaces) return `more than ${core.options.maxNamespaces} namespaces`;
  return null;
}

// Recovery

type Auth = Record<string, unknown>;

function isRecovery(auth: Auth | undefined): auth is Auth & { pid: string; offset: string } {
  return typeof auth?.pid === "string" && typeof auth.offset === "string";
}

/**
 * Restore a session only for its owner: the token is verified before anything is read from the store, and what was missed
 * is sent when the socket is admitted. Otherwise the client gets a new socket, which is decided about as any other.
 */
async function recover(
  core: Core,
  namespace: HostNamespace,
  client: HostClient,
  auth: Auth & { pid: string; offset: string },
  create: (auth: Auth) => Promise<HostSocket>,
): Promise<HostSocket> {
  const { pid, offset, ...rest } = auth;
  const plain = await create(rest);
  try {
    const { sources } = core.options;
    if (sources === null) return plain;
    const presented = fromHandshake(sources, rest, carriedBy(client.conn.request, core.options.origins));
    const who = await core.authorizer.identify(presented, namespace.name);
    const session = await namespace.adapter.restoreSession(pid, offset);
    if (!session) return plain;
    if (!(await mayRestore(core, namespace, session, who))) {
      const { missedPackets: _, ...kept } = session;
      await namespace.adapter.persistSession(kept); // some stores forget a session that was read
      return plain;
    }
    const SocketClass = plain.constructor as new (nsp: unknown, client: unknown, auth: unknown, session: Session) => HostSocket;
    const socket = new SocketClass(namespace, client, rest, { ...session, missedPackets: [] });
    restored.set(socket, { missed: session.missedPackets, rooms: guardedRooms(session) });
    return socket;
  } catch (error) {
    if (!(error instanceof AuthError)) core.options.log("a session could not be restored", error);
    return plain;
  }
}

async function mayRestore(core: Core, namespace: HostNamespace, session: Session, who: Identity): Promise<boolean> {
  const owner = session.data?.identity as Identity | undefined;
  const isOwner = owner !== undefined && owner.subject !== "" && owner.subject === who.subject && owner.issuer === who.issuer;
  if (!isOwner || namespace.sockets.has(session.sid)) return false; // stores in memory restore a session twice
  for (const room of guardedRooms(session)) {
    if ((await core.authorizer.decide(who, "room", room, namespace.name)).error !== null) return false;
  }
  return true;
}

function guardedRooms(session: Session): readonly string[] {
  return (session.data?.guardedRooms ?? []) as string[];
}

// Listeners

interface Emitter {
  rawListeners(event: string): ((...args: unknown[]) => unknown)[];
  emitReserved(event: string, ...args: unknown[]): unknown;
  emitUntyped(event: string, ...args: unknown[]): unknown;
}

function callListenersSafely(prototype: Emitter): void {
  const { emitReserved, emitUntyped } = prototype;
  prototype.emitUntyped = function (this: Emitter, event, ...args) {
    const socket = guarded.get(this);
    if (!socket) return emitUntyped.call(this, event, ...args);
    const last = args.at(-1);
    const acknowledge = typeof last === "function" ? (last as (data: object) => void) : null;
    return callAll(this, event, args, (error) => socket.handlerFailed(error, event, acknowledge));
  };
  prototype.emitReserved = function (this: Emitter, event, ...args) {
    const core = guards.get((this as unknown as HostNamespace).server ?? {});
    if (!core) return emitReserved.call(this, event, ...args);
    return callAll(this, event, args, (error) => {
      core.options.log(`a listener of '${event}' failed`, error);
      const socket = event === "connection" || event === "connect" ? guarded.get(args[0] as object) : undefined;
      // Its handlers may be missing: the client must not wait for them.
      socket?.end("expire", new Unavailable("a listener of 'connection' failed"));
    });
  };
}

function callAll(emitter: Emitter, event: string, args: unknown[], failed: (error: unknown) => void): boolean {
  const listeners = emitter.rawListeners(event);
  for (const listener of listeners) {
    try {
      const result = Reflect.apply(listener, emitter, args);
      if (isThenable(result)) result.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }
  return listeners.length > 0;
}
