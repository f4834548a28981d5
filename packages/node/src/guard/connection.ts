/** A guarded connection: the guard's side of one Engine.IO connection, with one method for each thing that arrives. */

import { attempt, isThenable } from "../core/calls.js";
import { type Carried, type Sources, headerName, isCookieOfAllowedPage } from "../core/credentials.js";
import { AUTHENTICATE } from "../core/names.js";
import { CredentialsError, PermissionDenied, ProtocolViolation, TooManyAttempts } from "../errors.js";
import type { Authenticator } from "./authenticator.js";
import type { Authorizer } from "./authorizer.js";
import { INVALID_NAMESPACE } from "./contract.js";
import type { Events } from "./events.js";
import { DISCONNECT, type Done, EVENT, type HostConn, type HostRequest, type HostSocket, type Packet } from "./host.js";
import type { SessionBinding } from "./session_binding.js";
import { ConnectionState, type GuardContext, GuardedSocket } from "./socket.js";
import { hideTokens } from "./hidden_tokens.js";
import type { SocketAuthorizer } from "./socket_authorizer.js";
import { type Pass, SocketSeam } from "./socket_seam.js";

/** The objects that decide. */
export interface Deciders {
  readonly authorizer: Authorizer;
  readonly socketAuthorizer: SocketAuthorizer;
  readonly authenticator: Authenticator;
  readonly events: Events;
  readonly sessionBinding: SessionBinding;
}

export class GuardedConnection extends ConnectionState {
  constructor(
    context: GuardContext,
    readonly deciders: Deciders,
    conn: HostConn,
  ) {
    super(context, conn, conn.remoteAddress ?? "", carriedBy(conn.request, context.settings));
    const isFull = hasTooMany(context, this.address);
    context.index.open(conn, this);
    conn.once("close", () => this.lost());
    if (conn.readyState === "closed") this.lost();
    else if (isFull) this.close();
    else this.expectConnect(context.settings.timeout);
  }

  // Before anything is made

  /**
   * A CONNECT arrived. It is counted before a namespace or a socket is made for it.
   *
   * @param joined the namespaces that socket.io knows the client in.
   * @returns false if it is refused, or dropped.
   */
  asks(name: string, joined: ReadonlyMap<string, unknown>): boolean {
    if (this.closing || this.isRefused || this.conn.readyState !== "open") return false;
    const problem = this.#problemOf(name, joined);
    if (problem !== null) this.violation(problem);
    if (problem !== null || this.isFlood()) return false;
    this.asked.add(name);
    return true;
  }

  /**
   * It is known whether a namespace exists that the client has asked for.
   *
   * @returns false if nobody waits for the answer.
   */
  found(name: string, exists: boolean): boolean {
    const isAwaited = this.asked.has(name) && this.conn.readyState === "open";
    if (!isAwaited) this.context.namespaces.left(name, this);
    else if (!exists) {
      this.dropAsked(name);
      const unknown = new PermissionDenied("the server does not have this namespace", { message: INVALID_NAMESPACE });
      this.context.refusals.report(unknown, this.address);
      this.refusedOne();
    }
    return isAwaited;
  }

  /** Do what a CONNECT asks for; if that fails, the connection is closed. */
  attempt(call: () => void): void {
    attempt(call, (error) => {
      this.context.settings.log("a CONNECT could not be decided, so it is refused", error);
      this.close();
    });
  }

  /** A binary packet arrived. Returns true if that is before admission: its attachments would be collected. */
  isTooEarly(): boolean {
    if (!this.admitted) this.violation("a binary packet before admission");
    return !this.admitted;
  }

  /** A packet arrived for a namespace that the client is not in. Returns true if it is in no other one, either. */
  isUnasked(): boolean {
    if (!this.inUse) this.violation("a packet before a namespace was joined");
    return !this.inUse;
  }

  // Sockets

  /**
   * socket.io made a socket for a CONNECT.
   *
   * @param missed the packets that a restored socket missed.
   * @returns the guarded socket, to be decided about; null if it was refused before its token was looked at.
   */
  open(socket: HostSocket, done: Done, missed: readonly unknown[]): GuardedSocket | null {
    const { name } = socket.nsp;
    if (this.closing || this.isRefused || this.sockets.has(name) || this.conn.readyState !== "open") {
      this.dropAsked(name);
      done(new ProtocolViolation("nobody waits for it"));
      return null;
    }
    const seam = new SocketSeam(socket, done);
    seam.missed = missed;
    const { authenticator } = this.deciders;
    const guarded = new GuardedSocket(this, seam, authenticator.maxAttempts);
    this.sockets.set(name, guarded);
    this.asked.delete(name);
    return guarded;
  }

  /** Decide about a socket that {@link open} made. Whatever fails here is a refusal. */
  decide(guarded: GuardedSocket): void {
    try {
      this.deciders.authenticator.connect(guarded);
      hideTokens(guarded.host.socket.handshake, this.context.settings.sources);
    } catch (error) {
      this.context.settings.log("a CONNECT could not be decided, so it is refused", error);
      guarded.gone();
      this.close();
    }
  }

  /** True if a later HTTP request of the session may be served; another one is reported. */
  owns(request: HostRequest, address: string): boolean | Promise<boolean> {
    const { sessionBinding } = this.deciders;
    const owned = sessionBinding.isOwner(this, carriedBy(request, this.context.settings), address);
    const report = (isOwner: boolean): boolean => {
      if (!isOwner) sessionBinding.reportHijack(address);
      return isOwner;
    };
    return isThenable(owned) ? owned.then(report) : report(owned);
  }

  /** True for a polling body that is too large before admission; the connection is closed then. */
  isTooLarge(request: HostRequest): boolean {
    const isTooLarge = this.packetLimit.isTooLarge(request);
    if (isTooLarge) this.violation("a request body over the limit");
    return isTooLarge;
  }

  /** What is wrong with a CONNECT before its token is looked at, or null. */
  #problemOf(name: string, joined: ReadonlyMap<string, unknown>): string | null {
    const { maxNamespaces } = this.context.settings;
    if (this.conn.protocol === 3) return "a client of Socket.IO 2";
    // All versions let two CONNECTs for one namespace race while a middleware waits; 4.0 to 4.4 let them come later, too.
    if (this.asked.has(name) || this.sockets.has(name) || joined.has(name)) return "a namespace that was asked for already";
    if (this.sockets.size + this.asked.size >= maxNamespaces) return `more than ${maxNamespaces} namespaces`;
    return null;
  }

  override packetInQuarantine(socket: GuardedSocket, packet: Packet): void {
    if (socket.admitted) {
      socket.host.passLater(packet);
    } else if (packet.type === DISCONNECT) {
      socket.gone();
    } else if (packet.type === EVENT && Array.isArray(packet.data) && packet.data[0] === AUTHENTICATE) {
      this.deciders.authenticator.authenticate(socket, packet);
    } else {
      socket.end("packet", new CredentialsError("a packet before admission"));
    }
  }

  override packet(socket: GuardedSocket, packet: Packet, pass: Pass): void {
    this.deciders.events.arrived(socket, packet, pass);
  }

  override socketOpened(socket: GuardedSocket): void {
    this.deciders.socketAuthorizer.begin(socket);
    socket.rememberRooms();
  }
}

/** True if an address has too many connections without an admitted socket; reports it. */
export function hasTooMany({ index, settings, refusals }: GuardContext, address: string): boolean {
  if (index.anonymousFrom(address) < settings.maxAnonymous) return false;
  refusals.report(new TooManyAttempts("too many connections without a token"), address);
  return true;
}

/** What an HTTP request carries where tokens may be. */
export function carriedBy(request: Requested | undefined, settings: { origins: readonly string[]; sources: Sources }): Carried {
  const { origins, sources } = settings;
  const cookie = isCookieOfAllowedPage(request?.headers ?? {}, origins) ? request?.headers?.cookie : undefined;
  const url = typeof request?.url === "string" ? request.url : "";
  const at = url.indexOf("?");
  return {
    authorization: headerOf(request, headerName(sources)),
    cookie: typeof cookie === "string" ? cookie : undefined,
    query: at < 0 ? undefined : url.slice(at + 1),
  };
}

/** All headers of a name: Node.js drops a second `Authorization`, which a proxy may have believed. Two are not one token. */
function headerOf(request: Requested | undefined, name: string): string | undefined {
  const { rawHeaders, headers } = request ?? {};
  const raw: readonly unknown[] = Array.isArray(rawHeaders) ? rawHeaders : [];
  const all = raw.filter((_, index) => index % 2 === 1 && String(raw[index - 1]).toLowerCase() === name);
  if (all.length > 1) return all.join(", ");
  const given: unknown = headers?.[name];
  if (Array.isArray(given)) return given.join(", ");
  return typeof given === "string" ? given : undefined;
}

/** The parts of a request that can contain tokens. */
export interface Requested {
  headers?: Record<string, string | string[] | undefined>;
  rawHeaders?: readonly string[];
  url?: string | undefined;
}
