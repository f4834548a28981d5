/** The guard of a Socket.IO server: what an application calls. */

import { type Sources, checkSources, fromHandshake } from "../core/credentials.js";
import { AUTHENTICATE, isEventName } from "../core/event_names.js";
import type { Identity } from "../core/identity.js";
import { isName } from "../core/claims.js";
import { OWN_ROOM, Policy } from "../core/policy.js";
import { LONGEST_LIFETIME, type Revocation, type RevokeOptions, Revocations, names, revocationOf } from "../core/revocations.js";
import { AuthError, ConfigError, PermissionDenied, RevokedToken } from "../errors.js";
import type { WriteLine } from "./audit.js";
import { type AnyVerifier, Authorizer, type Clock, type Log } from "./authorizer.js";
import { type Refused, carriedBy } from "./connection.js";
import { JOIN_ROOM, LEAVE_ROOM } from "./contract.js";
import { Core, type CoreOptions, type Served } from "./core.js";
import { type DocumentVerifier, Journal, type JournalOptions } from "./journal.js";
import { type ServerLike, type SocketLike, checkServer } from "./host.js";
import { Unauthorized } from "./requests.js";
import { guardedSocket, install, isGuarded } from "./seams.js";
import type { GuardedSocket } from "./socket.js";

/** The ways to present a token. */
export type Way = "handshake" | "authenticate";

/** The settings of a guard. Times are in milliseconds, as everywhere in Node.js. */
export interface GuardOptions {
  /**
   * How a token is presented: with the connection (`handshake`), by the event `authenticate` after connecting, or either.
   * Default: `["handshake"]`.
   */
  via?: Way | readonly Way[];
  /** Where a handshake may present a token. Default: the `auth` payload and the `Authorization` header. */
  sources?: Sources;
  /**
   * The origins of web pages whose cookies count, such as `https://chat.example`. Required if `sources` names a cookie: a
   * browser sends it with the requests of every page.
   */
  origins?: readonly string[];
  /** Time in which a connection must authenticate; only success stops it. Default: 15000. */
  timeout?: number;
  /** So many rejected tokens close the connection. Default: 3. */
  maxAttempts?: number;
  /** False also admits clients without a token, as guests; a bad token is refused all the same. Default: true. */
  required?: boolean;
  /** Who may do what. Default: every identity may connect, and no room may be joined. */
  policy?: Policy;
  /** Time after `exp` in which a connected socket stays, so that it can be renewed. Default: 25000. */
  grace?: number;
  /** Time before `exp` at which the client receives `token_expiring`, at the earliest; 0 for never. Default: 60000. */
  warnBefore?: number;
  /** Time for one decision; a verifier, a rule or a middleware that takes longer refuses. Default: 15000. */
  decisionTimeout?: number;
  /** So many refused namespace connections close the whole connection. Default: 3. */
  maxRefusals?: number;
  /** So many namespaces one connection may join. Default: 32. */
  maxNamespaces?: number;
  /** Put every socket into its subject's own room, `user:{sub}`. Default: true. */
  userRooms?: boolean;
  /** Follows the revocations of a roomkey login server. Default: revocations of this process only. */
  journal?: JournalOptions;
  /** Receives the lines of the audit log, each one JSON object without a token. Default: none. */
  audit?: WriteLine;
  /** Receives what goes wrong in the application's rules, callbacks and listeners. Default: `console.error`. */
  log?: Log;
  /** Seconds since the epoch, for tests. */
  clock?: Clock;
}

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
  readonly #core: Core;
  readonly #revocations = new Revocations();
  readonly #authorizer: Authorizer;
  readonly #sources: Required<Sources>;
  readonly #lifetime: number;
  readonly #journal: Journal | null;

  constructor(io: ServerLike, verifier: AnyVerifier, options: GuardOptions) {
    if (typeof verifier?.verify !== "function") {
      throw new ConfigError("the second argument is a verifier: guard(io, Verifier.hs256(secret, { audience: '…' }))");
    }
    if ((verifier as { requiresSubject?: unknown }).requiresSubject === false) {
      throw new ConfigError("cannot use a verifier that accepts tokens without a subject: all of their users would be one user");
    }
    if (options.policy !== undefined && !(options.policy instanceof Policy)) throw new ConfigError("policy must be a Policy");
    const server = checkServer(io);
    if (isGuarded(server)) throw new ConfigError("cannot guard this server: it has a guard already");
    this.policy = options.policy ?? new Policy();
    this.#sources = checkSources(options.sources ?? {});
    const settings = checked(options, this.#sources);
    this.#authorizer = new Authorizer(verifier, this.policy, this.#revocations, {
      clock: options.clock ?? (() => Date.now() / 1000),
      log: settings.log,
      grace: settings.grace,
      within: seconds(options.decisionTimeout, 15_000, "decisionTimeout", 1),
      isStale: () => this.#journal?.isStale ?? false,
    });
    this.#journal = options.journal === undefined ? null : this.#follow(options.journal, verifier, settings.log);
    this.#lifetime = verifier.longestLifetime ?? LONGEST_LIFETIME;
    this.#core = new Core(settings, this.#authorizer, this.#revocations);
    install(server, this.#core);
    this.#journal?.start();
  }

  #follow(options: JournalOptions, verifier: AnyVerifier, log: Log): Journal {
    return new Journal(options, verifier as AnyVerifier & DocumentVerifier, {
      revoked: (entry) => this.#apply(entry, false),
      rightsChanged: ({ name, rights, issuedBefore }) => {
        this.#authorizer.change(name, rights, issuedBefore);
        void this.#reconsider(name);
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
    const found: LiveSocket[] = [];
    for (const one of this.#core.sockets()) {
      if (!one.admitted || one.identity === null || (subject !== undefined && one.identity.subject !== subject)) continue;
      const { namespace, identity, rooms, connection } = one;
      found.push({ id: one.socket.id, namespace, identity, rooms: [...rooms], address: connection.address });
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
    await this.#admitted(socket).enterRoom(room);
  }

  /** Take a socket out of a room that {@link Guard.enterRoom} put it into; another room is the application's. */
  async leaveRoom(socket: SocketLike, room: string): Promise<void> {
    await this.#admitted(socket).leaveRoom(room);
  }

  /** Ask the policy whether a client may emit an event to a room, before a handler does it for it. */
  async checkEmit(socket: SocketLike, room: string, event: string): Promise<void> {
    await this.#admitted(socket).demand("emit", room, event);
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
    this.#serve(JOIN_ROOM, async (socket, _, [room]) => socket.enterRoom(roomName(socket, "room", room)));
    this.#serve(LEAVE_ROOM, async (socket, _, [room]) => socket.leaveRoom(roomName(socket, "room", room)));
    return this;
  }

  /**
   * Let clients emit these events to rooms themselves, as far as the policy allows. A client sends
   * `emit("say", room, data)`; the others in the room receive `say` with `{room, from, data}`.
   */
  relay(...events: string[]): this {
    for (const event of events) {
      if (!isEventName(event) || event === AUTHENTICATE || this.#core.served.has(event)) {
        throw new ConfigError(`'${event}' cannot be relayed: it is not an event's name, or has its own meaning`);
      }
      this.#serve(event, async (socket, name, [given, data = null]) => {
        const room = roomName(socket, "emit", given);
        await socket.demand("emit", room, name);
        socket.socket.to(room).emit(name, { room, from: socket.identity?.subject ?? "", data });
      });
    }
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
    for (const socket of this.#core.sockets()) {
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
    this.#authorizer.change(subject, rights, this.#authorizer.now());
    return this.#reconsider(subject);
  }

  /**
   * Verify the token of an HTTP request, as for a socket: for a route of the same application.
   *
   * @throws {Unauthorized} no valid token; Express and Fastify answer it with 401 and `WWW-Authenticate`.
   */
  async verifyRequest(request: { headers: Record<string, string | string[] | undefined>; url?: string | undefined }): Promise<Identity> {
    try {
      const presented = fromHandshake({ ...this.#sources, auth: false }, null, carriedBy(request, this.#core.options.origins));
      return this.#authorizer.withRightsOfNow(await this.#authorizer.verify(presented));
    } catch (error) {
      if (error instanceof AuthError) throw new Unauthorized(error);
      throw error;
    }
  }

  /** Call back whenever a token or a connection is refused. What the callback throws is logged and changes nothing. */
  onRefused(callback: Refused): this {
    this.#core.callbacks.push(callback);
    return this;
  }

  /** End what is due now. A timer calls this; tests with a clock of their own call it after moving it. */
  checkDeadlines(): void {
    this.#core.timers.check();
  }

  /** Close every connection, because the server stops; clients return automatically when it is up again. */
  close(): void {
    for (const connection of [...this.#core.connections.values()]) connection.close();
    this.#core.timers.close();
    this.#journal?.close();
  }

  async #reconsider(subject: string): Promise<number> {
    const live = [...this.#core.sockets()].filter((socket) => socket.live && socket.identity?.subject === subject);
    await Promise.all(live.map((socket) => socket.rightsChanged()));
    return live.length;
  }

  #serve(name: string, serve: Served): void {
    this.#core.served.set(name, serve);
  }

  #admitted(socket: SocketLike): GuardedSocket {
    const found = guardedSocket(socket);
    if (!found?.admitted) throw new PermissionDenied("this socket is not admitted");
    return found;
  }
}

function roomName(socket: GuardedSocket, kind: string, room: unknown): string {
  if (!isName(room)) throw socket.denied(kind, room);
  return room;
}

function seconds(value: number | undefined, otherwise: number, name: string, least: number): number {
  const given = value ?? otherwise;
  if (typeof given !== "number" || !Number.isFinite(given) || given < least) {
    throw new ConfigError(`${name} must be a number of milliseconds, ${least} or more`);
  }
  return given / 1000;
}

function count(value: number | undefined, otherwise: number, name: string): number {
  const given = value ?? otherwise;
  if (!Number.isInteger(given) || given < 1) throw new ConfigError(`${name} must be a whole number of 1 or more`);
  return given;
}

function checked(options: GuardOptions, sources: Required<Sources>): CoreOptions {
  const given = options.via ?? ["handshake"];
  const ways: readonly unknown[] = typeof given === "string" ? [given] : given;
  if (!Array.isArray(ways) || ways.length === 0 || !ways.every((way) => way === "handshake" || way === "authenticate")) {
    throw new ConfigError('via must be "handshake", "authenticate", or a list of both');
  }
  return {
    sources: ways.includes("handshake") ? sources : null,
    origins: checkedOrigins(options.origins, sources),
    later: ways.includes("authenticate"),
    timeout: seconds(options.timeout, 15_000, "timeout", 1),
    maxAttempts: count(options.maxAttempts, 3, "maxAttempts"),
    required: options.required ?? true,
    grace: seconds(options.grace, 25_000, "grace", 0),
    warnBefore: seconds(options.warnBefore, 60_000, "warnBefore", 0),
    maxRefusals: count(options.maxRefusals, 3, "maxRefusals"),
    maxNamespaces: count(options.maxNamespaces, 32, "maxNamespaces"),
    userRooms: options.userRooms ?? true,
    audit: options.audit ?? null,
    log: options.log ?? ((message, error) => console.error(`roomkey: ${message}`, ...(error === undefined ? [] : [error]))),
  };
}

function checkedOrigins(origins: unknown, sources: Required<Sources>): readonly string[] {
  const listed: readonly unknown[] = Array.isArray(origins) ? origins : origins === undefined ? [] : [origins];
  for (const origin of listed) {
    const isOrigin = typeof origin === "string" && URL.canParse(origin) && new URL(origin).origin === origin;
    if (!isOrigin) throw new ConfigError(`invalid origin '${String(origin)}'; use one such as 'https://chat.example'`);
  }
  if (sources.cookie !== null && listed.length === 0) {
    throw new ConfigError("a token in a cookie requires origins: without them, every web page could connect as its visitor");
  }
  return listed as readonly string[];
}
