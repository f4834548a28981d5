/**
 * What the guard uses of socket.io, private names included. Nothing is imported from socket.io: a process may contain
 * several copies of it, and the guard takes the one that the server was made with.
 */

import type { IncomingMessage } from "node:http";

import { ConfigError } from "../errors.js";

/** Socket.IO packet types (protocol version 5). */
export const CONNECT = 0;
export const DISCONNECT = 1;
export const EVENT = 2;
export const ACK = 3;
export const CONNECT_ERROR = 4;
export const BINARY_EVENT = 5;
export const BINARY_ACK = 6;

export interface Packet {
  type: number;
  data?: unknown;
  id?: number | undefined;
  nsp?: string;
}

/** The arguments of an event. */
export function argumentsOf(packet: Packet): readonly unknown[] {
  return Array.isArray(packet.data) ? packet.data.slice(1) : [];
}

/** An HTTP request of a connection. */
export type HostRequest = IncomingMessage & { _query?: Record<string, unknown> };

/** A connection of engine.io. */
export interface HostConn {
  readyState: string;
  protocol: number;
  remoteAddress: string;
  request: IncomingMessage;
  transport?: { name?: string; shouldClose?: (() => void) | null; socket?: { _receiver?: { _maxPayload?: number } } };
  close(): void;
  once(event: "close" | "upgrade", listener: () => void): unknown;
}

export interface HostClient {
  server: object;
  conn: HostConn;
  nsps: Map<string, unknown>;
  connectTimeout?: NodeJS.Timeout | undefined;
  connect(name: string, auth: unknown): void;
  doConnect(name: string, auth: unknown): void;
  ondata(data: unknown): void;
  ondecoded(packet: Packet): void;
  _packet(packet: Packet): void;
}

/** A socket, as the guard needs it. */
export interface HostSocket {
  id: string;
  pid?: string;
  data: Record<string, unknown>;
  connected: boolean;
  nsp: HostNamespace;
  client: HostClient;
  handshake: { auth: unknown; headers: unknown; query: unknown; url: string };
  packet(packet: Packet, options?: object): void;
  join(rooms: string | readonly string[]): unknown;
  leave(room: string): unknown;
  leaveAll(): unknown;
  disconnect(close?: boolean): unknown;
  to(room: string): { emit(event: string, ...args: unknown[]): unknown };
  rooms: Set<string>;
  acks: Map<unknown, unknown>;
  /** Since 4.5. */
  _cleanup?(): void;
  _onpacket(packet: Packet): void;
  _onclose(reason: string, description?: unknown): unknown;
}

export type Middleware = (socket: HostSocket, next: (error?: unknown) => void) => unknown;
export type Done = (error?: unknown) => void;

export interface Session {
  sid: string;
  pid: string;
  rooms: string[];
  data: Record<string, unknown> | undefined;
  missedPackets: unknown[];
}

export interface HostNamespace {
  name: string;
  server: object;
  sockets: Map<string, HostSocket>;
  _fns: Middleware[];
  adapter: {
    restoreSession(pid: string, offset: string): Promise<Session | null>;
    persistSession(session: Omit<Session, "missedPackets">): unknown;
  };
  run(socket: HostSocket, done: Done): void;
  _createSocket?(client: HostClient, auth: Record<string, unknown>): Promise<HostSocket>;
}

/** A dynamic namespace, and the one that it was made of. */
export interface HostChild {
  name: string;
  sockets: Map<string, unknown>;
  adapter: { close?(): unknown };
  _remove(socket: { id: string }): void;
}

export interface HostParent {
  children: Set<HostChild>;
  createChild(name: string): HostChild;
}

/** A server of engine.io. */
export interface HostEngine {
  clients: Record<string, HostConn>;
  verify(request: HostRequest, upgrade: boolean, done: (code?: unknown, context?: unknown) => void): void;
  on(event: "connection", listener: (conn: HostConn) => void): unknown;
}

export interface HostServer {
  sockets: HostNamespace;
  engine?: HostEngine;
  bind(engine: HostEngine): unknown;
  _nsps: Map<string, unknown>;
  /** Dynamic namespaces, by the functions that know their names. */
  parentNsps: Map<unknown, HostParent>;
  of(name: unknown, ...more: unknown[]): unknown;
  _checkNamespace(name: string, auth: unknown, done: (namespace: unknown) => void): void;
  onconnection(conn: object): unknown;
  opts?: ServerOptions;
}

interface ServerOptions {
  allowEIO3?: boolean;
  connectionStateRecovery?: { skipMiddlewares?: boolean };
  cleanupEmptyChildNamespaces?: boolean;
}

/** Any version's `Server` of socket.io. */
export interface ServerLike {
  sockets: unknown;
  of(name: string): unknown;
}

/** Any version's `Socket` of socket.io. */
export interface SocketLike {
  id: string;
}

/**
 * Check that a server has every private name that the guard uses.
 *
 * @throws {ConfigError} it has not, or it accepts clients that the guard cannot hold in quarantine.
 */
export function checkServer(io: ServerLike): HostServer {
  const server = io as unknown as HostServer;
  const root = server?.sockets as Partial<HostNamespace> | undefined;
  const missing = [
    typeof root?.run !== "function" && "Namespace.prototype.run",
    !Array.isArray(root?._fns) && "Namespace._fns",
    !(root?.sockets instanceof Map) && "Namespace.sockets",
    !(server?._nsps instanceof Map) && "Server._nsps",
    !(server?.parentNsps instanceof Map) && "Server.parentNsps",
    ...(["bind", "of", "onconnection", "_checkNamespace"] as const).map(
      (name) => typeof server?.[name] !== "function" && `Server.prototype.${name}`,
    ),
    server?.opts?.connectionStateRecovery && typeof root?._createSocket !== "function" && "Namespace.prototype._createSocket",
  ].filter((name) => typeof name === "string");
  checkPresent(missing);
  if (server.opts?.allowEIO3) {
    throw new ConfigError("cannot guard a server with allowEIO3: clients of Socket.IO 2 join / without a CONNECT packet; remove allowEIO3");
  }
  return server;
}

/** @throws {ConfigError} the engine has not every name that the guard uses. */
export function checkEngine(engine: HostEngine): void {
  checkPresent([
    ...(typeof engine.verify === "function" ? [] : ["engine.io's Server.prototype.verify"]),
    ...(typeof engine.clients === "object" ? [] : ["engine.io's Server.clients"]),
  ]);
}

function checkPresent(missing: readonly string[]): void {
  if (missing.length === 0) return;
  throw new ConfigError(
    `cannot guard this server: ${missing.join(", ")} is missing; pass the Server of socket.io 4.0 to 4.8: guard(new Server(http), …)`,
  );
}

/** The rooms that the policy had let a restored socket into. */
export function rememberedRooms(data: Record<string, unknown> | undefined): readonly string[] {
  return (data?.guardedRooms ?? []) as string[];
}
