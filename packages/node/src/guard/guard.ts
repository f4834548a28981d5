/** The guard of a Socket.IO server: what an application calls. */

import { fromHandshake } from "../core/credentials.js";
import type { Identity } from "../core/identity.js";
import { OWN_ROOM, type Policy } from "../core/policy.js";
import { LONGEST_LIFETIME, type Revocation, type RevokeOptions, Revocations, names, revocationOf } from "../core/revocations.js";
import { AuthError, ConfigError, PermissionDenied, RevokedToken } from "../errors.js";
import { Authenticator } from "./authenticator.js";
import { type AnyVerifier, Authorizer } from "./authorizer.js";
import { type Requested, carriedBy } from "./connection.js";
import { Events } from "./events.js";
import { ExpiryWatch } from "./expiry_watch.js";
import { type ServerLike, type SocketLike, checkServer } from "./host.js";
import { type DocumentVerifier, Journal, type JournalOptions } from "./journal.js";
import { Proofs } from "./proofs.js";
import { Refusals, type Refused } from "./refusals.js";
import { Unauthorized } from "./requests.js";
import { guardedSocket, install, isGuarded } from "./seams.js";
import { type GuardOptions, type GuardSettings, checkSettings } from "./settings.js";
import type { GuardContext, GuardedSocket } from "./socket.js";
import { SocketAuthorizer } from "./socket_authorizer.js";
import { SocketIndex } from "./socket_index.js";
import { Timers } from "./timers.js";

/** An admitted socket, as it is at this moment. */
export interface LiveSocket {
  readonly id: string;
  readonly namespace: string;
  readonly identity: Identity;
  /** Those that the policy let it into. */
  readonly rooms: readonly string[];
  readonly address: string;
}

/**
 * Guard every namespace of a server. Call it before the server accepts connections.
 *
 * @throws {ConfigError} settings that contradict each other, or a server that cannot be guarded.
 */
export function guard(io: ServerLike, verifier: AnyVerifier, options: GuardOptions = {}): Guard {
  return new Guard(io, verifier, options);
}

/** Decides about every connection, room and event of a server, and ends sockets whose tokens are not valid any more. */
export class Guard {
  readonly policy: Policy;
  readonly #context: GuardContext;
  readonly #revocations = new Revocations();
  readonly #authorizer: Authorizer;
  readonly #socketAuthorizer: SocketAuthorizer;
  readonly #events: Events;
  readonly #lifetime: number;
  readonly #journal: Journal | null;

  constructor(io: ServerLike, verifier: AnyVerifier, options: GuardOptions) {
    const settings = checkSettings(verifier, options);
    const server = checkServer(io);
    if (isGuarded(server)) throw new ConfigError("cannot guard this server: it has a guard already");
    this.policy = settings.policy;
    this.#lifetime = verifier.longestLifetime ?? LONGEST_LIFETIME;
    this.#journal = options.journal === undefined ? null : this.#follow(options.journal, verifier, settings);
    const { clock, log, grace, within } = settings;
    const proofs = new Proofs(settings.dpop);
    const isStale = (): boolean => this.#journal?.isStale ?? false;
    const authorizer = new Authorizer(verifier, this.policy, this.#revocations, { clock, log, grace, within, proofs, isStale });
    const context = contextOf(settings);
    const socketAuthorizer = new SocketAuthorizer(context, authorizer);
    const authenticator = new Authenticator(context, authorizer, socketAuthorizer);
    const events = new Events(context, authorizer, socketAuthorizer, authenticator);
    [this.#context, this.#authorizer, this.#socketAuthorizer, this.#events] = [context, authorizer, socketAuthorizer, events];
    install(server, { context, deciders: { authorizer, socketAuthorizer, authenticator, events } });
    this.#journal?.start();
  }

  #follow(options: JournalOptions, verifier: AnyVerifier, { log }: GuardSettings): Journal {
    return new Journal(options, verifier as AnyVerifier & DocumentVerifier, {
      revoked: (entry) => this.#apply(entry, false),
      rightsChanged: ({ name, rights, issuedBefore }) => {
        this.#authorizer.changed.change(name, rights, issuedBefore);
        void this.#socketAuthorizer.reconsider(name);
      },
      failed: log,
    });
  }

  /** Who a socket belongs to. The same is in `socket.data.identity`. */
  identity(socket: SocketLike): Identity {
    return this.#admitted(socket).identity as Identity;
  }

  /** The admitted sockets, of everybody or of one subject. */
  sockets(subject?: string): LiveSocket[] {
    const { index } = this.#context;
    const found: LiveSocket[] = [];
    for (const one of subject === undefined ? index.sockets : index.named("subject", subject)) {
      if (!one.admitted || one.identity === null) continue;
      const { host, namespace, identity, rooms, connection } = one;
      found.push({ id: host.socket.id, namespace, identity, rooms: [...rooms], address: connection.address });
    }
    return found;
  }

  /**
   * Put a socket into a room, if the policy lets it in.
   *
   * @throws {PermissionDenied} no rule allows it, or the socket is not (or no longer) admitted. Let it pass out of an event
   *   handler, and the guard answers the client.
   */
  async enterRoom(socket: SocketLike, room: string): Promise<void> {
    await this.#socketAuthorizer.enterRoom(this.#admitted(socket), room);
  }

  /** Take a socket out of a room that {@link Guard.enterRoom} put it into; another room is the application's. */
  async leaveRoom(socket: SocketLike, room: string): Promise<void> {
    await this.#socketAuthorizer.leaveRoom(this.#admitted(socket), room);
  }

  /** Ask the policy whether a client may emit an event to a room, before a handler does it for it. */
  async checkEmit(socket: SocketLike, room: string, event: string): Promise<void> {
    await this.#socketAuthorizer.demand(this.#admitted(socket), "emit", room, event);
  }

  /** The room that all sockets of a subject are in: `io.to(roomkey.subjectRoom("ada")).emit(…)`. */
  subjectRoom(subject: string): string {
    if (typeof subject !== "string") throw new ConfigError("subject must be a string, such as '7'");
    return OWN_ROOM + subject;
  }

  /**
   * Let clients join and leave rooms themselves, as far as the policy allows.
   *
   * Adds the events `join-room` and `leave-room`, each with a room's name. The acknowledgement is `{ok: true}` or
   * `{ok: false, error: {…}}`; a refusal without one is the event `error`.
   */
  serveRooms(): this {
    this.#events.serveRooms();
    return this;
  }

  /**
   * Let clients emit these events to rooms themselves, as far as the policy allows. A client sends
   * `emit("say", room, data)`; the others in the room receive `say` with `{room, from, data}`.
   */
  relay(...events: string[]): this {
    this.#events.relay(events);
    return this;
  }

  /**
   * Revoke tokens and disconnect the sockets that use them, in this process.
   *
   * @returns the number of sockets disconnected.
   * @throws {ConfigError} none or several names, or `issuedBefore` in the future.
   */
  async revoke(options: RevokeOptions): Promise<number> {
    const now = this.#authorizer.now();
    const revoked = revocationOf(options, now, this.#lifetime);
    // A token that was seen before its subject was revoked was issued before, whatever its clock says.
    return this.#apply(revoked, revoked.kind === "subject" && options.issuedBefore === undefined);
  }

  /** Know a revocation, and end the sockets that it is about; `everybody` for all of its subject. */
  #apply(revoked: Revocation, everybody: boolean): number {
    const now = this.#authorizer.now();
    this.#revocations.add(revoked, now);
    let ended = 0;
    for (const socket of this.#context.index.named(revoked.kind, revoked.name)) {
      const who = socket.identity;
      if (who === null || !socket.live || !names(revoked, who)) continue;
      if (!everybody && !this.#revocations.isRevoked(who)) continue;
      if (who.tokenId !== null) {
        const token = { kind: "token", name: who.tokenId, issuer: who.issuer, issuedBefore: 0 } as const;
        this.#revocations.add({ ...token, expiresAt: who.expiresAt ?? Infinity }, now);
      }
      socket.end("revoke", new RevokedToken("revoked while connected"));
      ended += 1;
    }
    return ended;
  }

  /**
   * Change what a subject may do, immediately: on its connected sockets, and for older tokens that it returns with.
   *
   * Rooms that are no longer allowed are left, and the client receives `permissions_changed`; a namespace that is no longer
   * allowed is disconnected. The change applies to this process until it exits.
   *
   * @returns the number of sockets that were asked about.
   */
  async update(subject: string, rights: { roles?: readonly string[]; rooms?: unknown }): Promise<number> {
    if (rights.roles === undefined && rights.rooms === undefined) throw new ConfigError("update takes roles, rooms or both");
    if (rights.roles !== undefined && !Array.isArray(rights.roles)) throw new ConfigError("roles must be a list");
    this.#authorizer.changed.change(subject, rights, this.#authorizer.now());
    return this.#socketAuthorizer.reconsider(subject);
  }

  /**
   * Verify the token of an HTTP request, as for a socket: for a route of the same application.
   *
   * @throws {Unauthorized} no valid token; Express and Fastify answer it with 401 and `WWW-Authenticate`.
   */
  async verifyRequest(request: Requested): Promise<Identity> {
    const { sources, origins } = this.#context.settings;
    try {
      const presented = fromHandshake({ ...sources, auth: false }, null, carriedBy(request, origins));
      return this.#authorizer.withRightsOfNow(await this.#authorizer.verify(presented));
    } catch (error) {
      if (error instanceof AuthError) throw new Unauthorized(error);
      throw error;
    }
  }

  /** Call back whenever a token or a connection is refused. What the callback throws is logged and changes nothing. */
  onRefused(callback: Refused): this {
    this.#context.refusals.callbacks.push(callback);
    return this;
  }

  /** End what is due now. A timer calls this; tests with a clock of their own call it after moving it. */
  checkDeadlines(): void {
    this.#context.timers.check();
  }

  /** Close every connection, because the server stops; clients return automatically when it is up again. */
  close(): void {
    for (const connection of [...this.#context.index.connections.values()]) connection.close();
    this.#context.timers.close();
    this.#journal?.close();
  }

  #admitted(socket: SocketLike): GuardedSocket {
    const found = guardedSocket(socket);
    if (!found?.admitted) throw new PermissionDenied("this socket is not admitted");
    return found;
  }
}

function contextOf(settings: GuardSettings): GuardContext {
  const { clock, grace, warnBefore, audit, log } = settings;
  const timers = new Timers(clock);
  const expiry = new ExpiryWatch(timers, clock, grace, warnBefore);
  return { settings, timers, index: new SocketIndex(), expiry, refusals: new Refusals(audit, log) };
}
