/** A guarded socket, and the connection that carries it: their state, and how they end. */

import { type Action, Admission, type Input } from "../core/admission.js";
import type { BadTokens } from "../core/bad_tokens.js";
import { isThenable, safely } from "../core/calls.js";
import type { Carried, Credential } from "../core/credentials.js";
import type { Identity } from "../core/identity.js";
import type { SubjectUsage } from "../core/subject_limits.js";
import { type AuthError, AuthenticationTimeout, ExpiredToken, ProtocolViolation } from "../errors.js";
import { record, tokenHash } from "./audit.js";
import { monotonic } from "./clock.js";
import * as contract from "./contract.js";
import type { DynamicNamespaces } from "./dynamic_namespaces.js";
import type { ExpiryWatch } from "./expiry_watch.js";
import { Floods } from "./floods.js";
import { type HostConn, type Packet, rememberedRooms } from "./host.js";
import { PacketLimit } from "./packet_limit.js";
import type { Refusals } from "./refusals.js";
import type { GuardSettings } from "./settings.js";
import type { SocketIndex } from "./socket_index.js";
import type { Pass, SocketSeam } from "./socket_seam.js";
import type { Timed, Timers } from "./timers.js";

/** What all connections and sockets of one guard share. */
export interface GuardContext {
  readonly settings: GuardSettings;
  readonly timers: Timers;
  readonly index: SocketIndex<HostConn, ConnectionState, GuardedSocket>;
  readonly namespaces: DynamicNamespaces;
  readonly expiry: ExpiryWatch;
  /** The counts of each subject; null without limits. */
  readonly usage: SubjectUsage<ConnectionState> | null;
  readonly refusals: Refusals;
  /** Counts the rejected tokens of each address. */
  readonly badTokens: BadTokens;
}

/** One Engine.IO connection: its state, and how it ends. `GuardedConnection` adds what arrives on it. */
export abstract class ConnectionState implements Timed {
  /** By namespace: those that are admitted, and those that are not yet. */
  readonly sockets = new Map<string, GuardedSocket>();
  /** The namespaces that its client asked for, and that have no socket of it yet. */
  readonly asked = new Set<string>();
  readonly openedAt = monotonic();
  /** How many tokens were rejected on it before anything was admitted. */
  badTokens = 0;
  /** Nothing was ever admitted on it. */
  anonymous = true;
  /** It is being closed; what still arrives is dropped. */
  closing = false;
  /** The token of its HTTP request, to which a polling session is bound; null until it is asked about. */
  credential: Credential | "none" | null = null;
  /** A later HTTP request has carried the credential, too. */
  repeatsCredential = false;
  /** How many of its requests wait until it is known whether they come from its owner. */
  verifying = 0;
  readonly packetLimit: PacketLimit;
  /** Its transport before an upgrade. */
  readonly #first: HostConn["transport"];
  #refusals = 0;
  readonly #floods: Floods;

  constructor(
    readonly context: GuardContext,
    readonly conn: HostConn,
    readonly address: string,
    readonly carried: Carried,
  ) {
    this.#first = conn.transport;
    this.#floods = new Floods(context.settings.maxNamespaces);
    this.packetLimit = new PacketLimit(conn, context.settings.anonymousPacket);
  }

  /** A packet arrived on a socket before its admission. */
  abstract packetInQuarantine(socket: GuardedSocket, packet: Packet): void;
  /** A packet arrived on an open socket. */
  abstract packet(socket: GuardedSocket, packet: Packet, pass: Pass): void;
  /** socket.io opens a socket. */
  abstract socketOpened(socket: GuardedSocket): void;

  /** True if some socket on it is alive. */
  get inUse(): boolean {
    for (const socket of this.sockets.values()) if (socket.live) return true;
    return false;
  }

  /** True while some socket on it is admitted. */
  get admitted(): boolean {
    for (const socket of this.sockets.values()) if (socket.admitted) return true;
    return false;
  }

  /** True if so many CONNECTs on it were refused that it is about to be closed. */
  get isRefused(): boolean {
    return this.#refusals >= this.context.settings.maxRefusals;
  }

  /** True while a CONNECT for a namespace is under way or undecided, or its socket there is alive. */
  needs(name: string): boolean {
    return !this.closing && (this.asked.has(name) || (this.sockets.get(name)?.live ?? false));
  }

  /** A CONNECT is not under way any more, and has made no socket. */
  dropAsked(name: string): void {
    if (this.asked.delete(name)) this.context.namespaces.left(name, this);
  }

  /** Count what presents a token; a flood of it closes the connection. */
  isFlood(): boolean {
    const isFlood = this.#floods.token();
    if (isFlood) this.violation("one token after the other");
    return isFlood;
  }

  /** Count an acknowledgement that nobody waits for; a flood of them closes the connection. */
  unexpectedAck(): void {
    if (this.#floods.unexpectedAck()) this.violation("too many acknowledgements that the server does not wait for");
  }

  /** Something arrived that no honest client sends. */
  violation(detail: string): void {
    if (this.closing) return;
    this.context.refusals.report(new ProtocolViolation(detail), this.address);
    this.close();
  }

  /** A CONNECT was answered with a refusal: count it, and close what nobody uses. */
  refusedOne(): void {
    this.#refusals += 1;
    setImmediate(() => {
      if (this.isRefused || !this.inUse) this.close(); // after the answer, which socket.io writes in the next tick
    });
  }

  /** The server ended a namespace connection; a connection that nobody uses is closed. */
  leftOne(): void {
    if (!this.inUse) this.close();
  }

  /** A client left a namespace: it may ask for another one, for a while; where nothing was admitted, since the opening. */
  left(): void {
    if (this.closing || this.inUse) return;
    const waited = this.anonymous ? monotonic() - this.openedAt : 0;
    this.expectConnect(Math.max(0, this.context.settings.timeout - waited));
  }

  /** Close the connection, unless it is in use in so many seconds. */
  expectConnect(seconds: number): void {
    this.context.timers.after(this, seconds);
  }

  waited(): void {
    if (this.inUse || this.closing) return;
    this.context.refusals.report(new AuthenticationTimeout("no namespace was joined in time"), this.address);
    this.close();
  }

  expired(): void {
    // only sockets expire
  }

  /** Close the transport after what was sent before; from now on nothing on it counts. */
  close(): void {
    if (this.closing) return;
    this.closing = true;
    for (const socket of this.sockets.values()) socket.feed("gone");
    for (const name of [...this.sockets.keys(), ...this.asked]) this.context.namespaces.left(name, this); // its transport may take long
    this.conn.close();
  }

  /** The transport is gone. */
  lost(): void {
    this.closing = true;
    this.#first?.shouldClose?.(); // else engine.io waits 30 seconds for a last poll of a client that is gone
    this.context.timers.forget(this);
    for (const socket of [...this.sockets.values()]) socket.gone();
    for (const name of this.asked) this.dropAsked(name);
    this.context.index.close(this.conn, this);
  }
}

/** One client in one namespace. It owns its admission, identity, rooms and end. */
export class GuardedSocket extends Admission implements Timed {
  readonly namespace: string;
  identity: Identity | null = null;
  /** What the audit log calls its token. */
  tokenName: string | null = null;
  /** The rooms that the policy let it into. */
  readonly rooms = new Set<string>();
  /** The rooms that the application joined by itself, and that the policy allowed. */
  readonly ownRooms = new Set<string>();
  /** The subject whose limit it counts for, if there is one. */
  countedFor: Identity | null = null;
  /** Characters of its CONNECT payload, while it is in quarantine. */
  keptAuth = 0;
  /** One renewal after the other; null before the first. */
  renewing: Promise<unknown> | null = null;
  /** How many of them wait. */
  renewals = 0;

  constructor(
    readonly connection: ConnectionState,
    readonly host: SocketSeam,
    maxAttempts: number,
  ) {
    super(maxAttempts);
    this.namespace = host.socket.nsp.name;
    for (const room of rememberedRooms(host.socket.data)) this.rooms.add(room);
  }

  /** Its time to authenticate begins, counted from the opening of the connection where nothing was admitted yet. */
  begin(): void {
    const { context, anonymous, openedAt } = this.connection;
    const { later, timeout } = context.settings;
    const waited = later && anonymous ? monotonic() - openedAt : 0;
    context.index.sockets.add(this);
    context.timers.cancel(this.connection);
    context.timers.after(this, Math.max(0, timeout - waited));
  }

  /** Set or replace its identity, and what the log calls its token. */
  identify(who: Identity, tokenName: string | null): void {
    this.tokenName = tokenName;
    this.connection.context.index.identify(this, who);
    this.host.socket.data.identity = who;
  }

  // What socket.io tells it

  inQuarantine(packet: Packet): void {
    this.connection.packetInQuarantine(this, packet);
  }

  arrived(packet: Packet, pass: Pass): void {
    this.connection.packet(this, packet, pass);
  }

  opened(): void {
    this.connection.socketOpened(this);
  }

  closed(): void {
    this.gone();
  }

  // Rooms

  /** The rooms that the policy allowed, no matter who joined them. */
  get allRooms(): Set<string> {
    return new Set([...this.rooms, ...this.ownRooms]);
  }

  /** Put it into a room that the policy allows. */
  enter(room: string): unknown {
    this.rooms.add(room);
    this.rememberRooms();
    const joined = this.host.socket.join(room);
    if (!isThenable(joined)) return joined;
    return joined.then(undefined, (error: unknown) => {
      this.forgetRoom(room);
      throw error;
    });
  }

  /** Take it out of a room that its client joined, unless the application joined it, too. */
  exit(room: string): unknown {
    if (!this.rooms.delete(room) || this.ownRooms.has(room)) return undefined;
    this.rememberRooms();
    return this.host.socket.leave(room);
  }

  /** Take it out of a room, no matter who joined it. */
  loseRoom(room: string): void {
    this.forgetRoom(room);
    safely(this.connection.context.settings.log, "leaving a room", () => void this.host.socket.leave(room)); // the seam logs a rejection
  }

  /** Forget a room that it is leaving. */
  forgetRoom(room: string): void {
    const wasIn = this.rooms.delete(room);
    if (this.ownRooms.delete(room) || wasIn) this.rememberRooms();
  }

  /** With the session of a recovery, so that the policy is asked about them when the client returns. */
  rememberRooms(): void {
    this.host.socket.data.guardedRooms = [...this.allRooms];
  }

  // How it ends

  waited(): void {
    this.end("timeout", new AuthenticationTimeout("no valid token in time"));
  }

  expired(): void {
    if (this.identity === null || !this.live) return;
    const left = this.connection.context.expiry.passed(this.identity, this);
    if (left === null) {
      const facts = { expired_at: this.identity.expiresAt };
      this.end("expire", new ExpiredToken("exp", "expired while connected", { facts }));
    } else if (left > 0 && this.admitted) {
      this.host.send(contract.TOKEN_EXPIRING, { expires_in: left });
    }
  }

  /**
   * End it from outside: its state changes now, so that nothing reaches it any more.
   *
   * @param closing collects the connection to close, if others on it end for the same reason: each of them is told. Default:
   *   the connection is closed at once.
   */
  end(why: Input, error: AuthError, closing?: Set<ConnectionState>): void {
    const wasAdmitted = this.admitted;
    const actions = this.feed(why);
    if (actions.length === 0) return;
    const { context, address } = this.connection;
    if (wasAdmitted) this.audit("ended", { reason: error.reason, check: error.detail, address });
    else context.refusals.report(error, address, this);
    this.carryOut(actions, error, closing);
  }

  /** Report, disconnect, close. Before the CONNECT reply, socket.io answers with CONNECT_ERROR. */
  carryOut(actions: readonly Action[], error: AuthError, closing?: Set<ConnectionState>): void {
    if (actions.length === 0) return;
    const { host, connection } = this;
    if (!host.answered) {
      this.feed("gone");
      this.#forget();
      host.finish(error);
      connection.refusedOne();
      return;
    }
    if (actions.includes("report")) host.send(contract.UNAUTHORIZED, contract.unauthorized(error));
    if (actions.includes("disconnect")) this.#disconnect();
    if (actions.includes("close")) {
      if (closing === undefined) connection.close();
      else closing.add(connection);
    }
    else if (actions.includes("disconnect")) connection.leftOne();
  }

  /** Disconnect it: its client does not return automatically, and its token stays valid. */
  disconnect(): void {
    this.feed("gone");
    this.audit("ended", { reason: "disconnected", address: this.connection.address });
    this.#disconnect();
    this.connection.leftOne();
  }

  #disconnect(): void {
    if (this.host.disconnect()) return;
    this.gone();
    if (this.state === "ended") this.connection.close(); // admitted, and socket.io is about to open it
  }

  /** The client left, or the transport closed. */
  gone(): void {
    this.feed("gone");
    this.#forget();
    this.host.abandon();
    this.connection.left();
  }

  /** Forget it on its connection. */
  #forget(): void {
    const { context, sockets } = this.connection;
    context.timers.forget(this);
    context.index.remove(this);
    this.uncount();
    if (sockets.get(this.namespace) !== this) return;
    sockets.delete(this.namespace);
    this.host.forget();
    context.namespaces.left(this.namespace, this.connection);
  }

  /** Stop counting it for its subject. */
  uncount(): void {
    if (this.countedFor === null) return;
    this.connection.context.usage?.leave(this.countedFor, this.connection);
    this.countedFor = null;
  }

  /** Write one line of the audit log about it. */
  audit(event: string, facts: Record<string, unknown> = {}): void {
    const { audit } = this.connection.context.settings;
    if (audit === null) return;
    record(audit, event, { namespace: this.namespace, sub: this.identity?.subject ?? null, token: this.tokenName, ...facts });
  }
}

/** What the audit log calls a token: its `jti`, else a part of its hash. */
export function tokenNameOf(who: Identity, presented: Credential | null): string | null {
  return who.tokenId ?? (presented === null ? null : tokenHash(presented.token));
}
