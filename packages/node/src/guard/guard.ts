/** The guard of a Socket.IO server: what an application calls. */

import { BadTokens } from "../core/bad_tokens.js";
import { fromHandshake } from "../core/credentials.js";
import type { Identity } from "../core/identity.js";
import { OWN_ROOM, type Policy } from "../core/policy.js";
import { LONGEST_LIFETIME, type Revocation, type RevokeOptions, Revocations, names, revocationOf } from "../core/revocations.js";
import type { Rights } from "../core/rights_overrides.js";
import { SubjectUsage } from "../core/subject_limits.js";
import { AuthError, ConfigError, PermissionDenied, RevokedToken } from "../errors.js";
import { Authenticator } from "./authenticator.js";
import { type AnyVerifier, Authorizer, type Decision, type DecisionKind, KINDS } from "./authorizer.js";
import { type Requested, carriedBy } from "./connection.js";
import { DynamicNamespaces } from "./dynamic_namespaces.js";
import { Events } from "./events.js";
import { ExpiryWatch } from "./expiry_watch.js";
import { type ServerLike, type SocketLike, checkServer } from "./host.js";
import { Disconnects } from "./disconnects.js";
import { type DocumentVerifier, Journal, type JournalOptions } from "./journal.js";
import type { JournalTarget, RevocationSource } from "./journal_target.js";
import { RedisJournal } from "./redis_journal.js";
import { Proofs } from "./proofs.js";
import { Refusals, type Refused } from "./refusals.js";
import { Unauthorized } from "./requests.js";
import { guardedSocket, install, isGuarded } from "./seams.js";
import { SessionBinding } from "./session_binding.js";
import { type GuardOptions, type GuardSettings, checkSettings } from "./settings.js";
import type { ConnectionState, GuardContext, GuardedSocket } from "./socket.js";
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
  readonly #journal: RevocationSource | null;
  readonly #disconnects: Disconnects;

  constructor(io: ServerLike, verifier: AnyVerifier, options: GuardOptions) {
    const settings = checkSettings(verifier, options);
    const server = checkServer(io);
    if (isGuarded(server)) throw new ConfigError("cannot guard this server: it already has one; create one guard per server");
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
    const sessionBinding = new SessionBinding(context, authorizer);
    [this.#context, this.#authorizer, this.#socketAuthorizer, this.#events] = [context, authorizer, socketAuthorizer, events];
    install(server, { context, deciders: { authorizer, socketAuthorizer, authenticator, events, sessionBinding } });
    this.#disconnects = new Disconnects(clock, (subject) => context.index.named("subject", subject));
    this.#journal?.start();
  }

  #follow(journal: JournalOptions | RedisJournal, verifier: AnyVerifier, { log }: GuardSettings): RevocationSource {
    const target: JournalTarget = {
      revoked: (entry) => this.#apply(entry, false),
      rightsChanged: ({ name, rights, issuedBefore, version }) => {
        this.#authorizer.changed.change(name, rights, issuedBefore, version);
        void this.#socketAuthorizer.reconsider(name);
      },
      disconnected: (entry) => void this.#disconnects.apply(entry),
      failed: log,
    };
    if (journal instanceof RedisJournal) return journal.follow(target);
    return new Journal(journal, verifier as AnyVerifier & DocumentVerifier, target);
  }

  /**
   * Who a socket belongs to. The same is in `socket.data.identity`.
   *
   * @throws {PermissionDenied} its identity is not known.
   */
  identity(socket: SocketLike): Identity {
    const identity = guardedSocket(socket)?.identity ?? null;
    if (identity === null) throw new PermissionDenied("this socket has no identity");
    return identity;
  }

  /** The admitted sockets, of everybody or of one subject. */
  sockets(subject?: string): LiveSocket[] {
    const { index } = this.#context;
    const found: LiveSocket[] = [];
    for (const one of subject === undefined ? index.sockets : index.named("subject", subject)) {
      if (!one.admitted || one.identity === null) continue;
      const { host, namespace, identity, allRooms, connection } = one;
      found.push({ id: host.socket.id, namespace, identity, rooms: [...allRooms], address: connection.address });
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
    await this.#socketAuthorizer.enterRoom(this.#open(socket), room);
  }

  /** Take a socket out of a room that {@link Guard.enterRoom} put it into; another room is the application's. */
  async leaveRoom(socket: SocketLike, room: string): Promise<void> {
    await this.#socketAuthorizer.leaveRoom(this.#open(socket), room);
  }

  /** Ask the policy whether a client may emit an event to a room, before a handler does it for it. */
  async checkEmit(socket: SocketLike, room: string, event: string): Promise<void> {
    await this.#socketAuthorizer.demand(this.#open(socket), "emit", room, event);
  }

  /**
   * The decision that the policy would make now, with the rule that makes it.
   *
   * @param who a socket, or an identity.
   * @param kind `namespace`, `room` (to join it), `emit` (to a room) or `event`.
   * @param name of the namespace, room or event.
   * @param options.event the event that would be emitted, for `emit`.
   * @param options.namespace the namespace for an identity (default: `/`); a socket has its own.
   * @throws {PermissionDenied} the socket is not admitted.
   */
  async explain(
    who: SocketLike | Identity,
    kind: DecisionKind,
    name: string,
    { event = "", namespace = "/" }: { event?: string; namespace?: string } = {},
  ): Promise<Decision> {
    if (!KINDS.includes(kind)) throw new ConfigError(`the kind of explain must be one of ${KINDS.join(", ")}, not ${String(kind)}`);
    if (!("subject" in who)) return this.#socketAuthorizer.decide(this.#open(who), kind, name, event);
    return this.#authorizer.decide(this.#authorizer.withRightsOfNow(who), kind, name, namespace, event);
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
   * @throws {ConfigError} none or several names, `issuedBefore` in the future, or `subject` without `expiresAt` although
   *   clients use tokens without `iat`.
   */
  async revoke(options: RevokeOptions): Promise<number> {
    const now = this.#authorizer.now();
    const revoked = revocationOf({ ...options, expiresAt: this.#latestExpiry(options, now) }, now);
    // A token that was seen before its subject was revoked was issued before, whatever its clock says.
    return this.#apply(revoked, revoked.kind === "subject" && options.issuedBefore === undefined);
  }

  /**
   * Disconnect all sockets of a subject, in this process. Its tokens stay valid, and its clients do not return automatically.
   *
   * @returns the number of sockets disconnected.
   */
  disconnect({ subject }: { subject: string }): number {
    this.subjectRoom(subject);
    const live = this.#context.index.named("subject", subject).filter((socket) => socket.admitted);
    for (const socket of live) socket.disconnect();
    return live.length;
  }

  /** When all tokens that a revocation is about have expired. */
  #latestExpiry({ subject, expiresAt }: RevokeOptions, now: number): number {
    if (subject !== undefined && expiresAt === undefined && this.#authorizer.hasUndated) {
      throw new ConfigError(
        "cannot tell old tokens from new ones: this guard accepts tokens without iat, and the subject would be locked out; " +
          "pass expiresAt, the latest exp of the tokens to revoke, or issue every token with an iat",
      );
    }
    const given = expiresAt ?? now + this.#lifetime;
    if (subject === undefined) return given;
    const undated = this.#context.index.named("subject", subject).filter(({ identity }) => identity?.issuedAt === null);
    return undated.reduce((latest, { identity }) => Math.max(latest, identity?.expiresAt ?? Infinity), given);
  }

  /** Know a revocation, and end the sockets that it is about; `everybody` for all of its subject. */
  #apply(revoked: Revocation, everybody: boolean): number {
    const now = this.#authorizer.now();
    this.#revocations.add(revoked, now);
    const closing = new Set<ConnectionState>();
    let ended = 0;
    for (const socket of this.#context.index.named(revoked.kind, revoked.name)) {
      const who = socket.identity;
      if (who === null || !socket.live || !names(revoked, who)) continue;
      if (!everybody && !this.#revocations.isRevoked(who)) continue;
      if (who.tokenId !== null) {
        const token = { kind: "token", name: who.tokenId, issuer: who.issuer, issuedBefore: 0 } as const;
        this.#revocations.add({ ...token, expiresAt: who.expiresAt ?? Infinity }, now);
      }
      socket.end("revoke", new RevokedToken("revoked while connected"), closing);
      ended += 1;
    }
    for (const connection of closing) connection.close();
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
  async update(subject: string, rights: Rights): Promise<number> {
    const { roles, rooms } = rights;
    if ((roles === undefined && rooms === undefined) || typeof roles === "string" || typeof rooms === "string") {
      throw new ConfigError("nothing to update; pass roles: […], rooms: […] or both");
    }
    if (roles !== undefined && !Array.isArray(roles)) throw new ConfigError("roles must be a list");
    this.subjectRoom(subject);
    this.#authorizer.changed.change(subject, rights, this.#authorizer.now());
    return this.#socketAuthorizer.reconsider(subject);
  }

  /**
   * Verify the token of an HTTP request, as for a socket: for a route of the same application.
   *
   * @throws {Unauthorized} no valid token; Express and Fastify answer it with 401 and `WWW-Authenticate`.
   */
  async verifyRequest(request: Requested): Promise<Identity> {
    const { settings } = this.#context;
    try {
      const presented = fromHandshake({ ...settings.sources, auth: false }, null, carriedBy(request, settings));
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

  #open(socket: SocketLike): GuardedSocket {
    const found = guardedSocket(socket);
    if (!found?.identified) throw new PermissionDenied("this socket is not admitted");
    return found;
  }
}

function contextOf(settings: GuardSettings): GuardContext {
  const { clock, grace, warnBefore, audit, log } = settings;
  const timers = new Timers(clock);
  const expiry = new ExpiryWatch(timers, clock, grace, warnBefore);
  const usage = settings.subjectLimits === null ? null : new SubjectUsage<ConnectionState>(settings.subjectLimits);
  const [index, namespaces, refusals] = [new SocketIndex() as GuardContext["index"], new DynamicNamespaces(log), new Refusals(audit, log)];
  const badTokens = new BadTokens(settings.maxBadTokens);
  return { settings, timers, index, namespaces, expiry, usage, refusals, badTokens };
}
