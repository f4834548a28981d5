/** Admission of sockets by their tokens: at the handshake, by `authenticate`, and by a renewal. */

import { type Verdict, countsAsBad } from "../core/bad_tokens.js";
import { type Credential, fromEvent, fromHandshake, hasCredentials } from "../core/credentials.js";
import { type Identity, isGuest } from "../core/identity.js";
import { isThenable } from "../core/calls.js";
import { type AuthError, Declined, LimitExceeded, PermissionDenied, SubjectMismatch, TooManyAttempts } from "../errors.js";
import { type Authorizer, asAuthError } from "./authorizer.js";
import { monotonic } from "./clock.js";
import * as contract from "./contract.js";
import { type Packet, argumentsOf } from "./host.js";
import { runMiddlewares } from "./middlewares.js";
import { type ConnectionState, type GuardContext, type GuardedSocket, tokenNameOf } from "./socket.js";
import type { SocketAuthorizer } from "./socket_authorizer.js";

type Find = () => Credential | null;

/** Characters of CONNECT payloads that the sockets of one connection can have kept while they are in quarantine. */
const MAX_KEPT_AUTH = 16_384;

const OVER = "rejected tokens per minute from this address; for a minute, not reported";

/** Tokens of a connected socket that wait for a verification. */
const MAX_RENEWALS = 16;

export class Authenticator {
  /** The number of rejected tokens that ends a new socket. */
  readonly maxAttempts: number;
  readonly #maxRenewals: number;

  constructor(
    private readonly context: GuardContext,
    private readonly authorizer: Authorizer,
    private readonly socketAuthorizer: SocketAuthorizer,
  ) {
    const { later, maxAttempts, maxRefusals } = context.settings;
    this.maxAttempts = later ? maxAttempts : 1;
    this.#maxRenewals = later ? maxAttempts : maxRefusals;
  }

  /** A CONNECT arrived: decide about its token, or leave it open until `authenticate`. */
  connect(socket: GuardedSocket): void {
    const { handshake, later, required } = this.context.settings;
    const { auth } = socket.host.socket.handshake;
    const { carried } = socket.connection;
    const presents = handshake !== null && hasCredentials(handshake, auth, carried);
    socket.begin();
    socket.host.decide(socket);
    if (!presents && !required) {
      this.#decide(socket, () => null);
    } else if (handshake === null || (later && !presents)) {
      this.#leaveOpen(socket, auth);
    } else {
      socket.maxAttempts = 1;
      this.#decide(socket, () => fromHandshake(handshake, auth, carried));
    }
  }

  /** Wait for `authenticate`. socket.io keeps the payload, and the listeners of `connection` may want to read it. */
  #leaveOpen(socket: GuardedSocket, auth: unknown): void {
    socket.keptAuth = JSON.stringify(auth ?? {}).length;
    let kept = 0;
    for (const other of socket.connection.sockets.values()) kept += other.admitted ? 0 : other.keptAuth;
    if (kept <= MAX_KEPT_AUTH) socket.host.quarantine(socket);
    else socket.end("packet", new LimitExceeded("auth", `more than ${MAX_KEPT_AUTH} characters of auth before authentication`));
  }

  /** The event `authenticate` arrived: the first token, or a later one for a connected socket. */
  authenticate(socket: GuardedSocket, packet: Packet): void {
    if (socket.connection.isFlood()) return;
    const find = (): Credential => fromEvent(argumentsOf(packet));
    if (!socket.admitted) this.#decide(socket, find, packet.id);
    else this.#renewLater(socket, find, packet.id);
  }

  /** The one path from a presented token (null for a guest) to an open namespace. It waits only if a decision does. */
  #decide(socket: GuardedSocket, find: Find, ackId?: number): void {
    if (!socket.feed("present").includes("verify")) return;
    let presented: Credential | null = null;
    let who: Identity | Promise<Identity>;
    try {
      presented = find();
      who = this.authorizer.identify(presented, socket.namespace);
    } catch (error) {
      this.#reject(socket, asAuthError(error), presented, ackId);
      return;
    }
    if (!isThenable(who)) this.#identified(socket, who, presented, ackId);
    else {
      who.then(
        (identity) => this.#identified(socket, identity, presented, ackId),
        (error: unknown) => this.#reject(socket, asAuthError(error), presented, ackId),
      ).catch((error: unknown) => this.#failed(socket, error));
    }
  }

  /** It is known who it is: the namespace's own middlewares decide next. */
  #identified(socket: GuardedSocket, who: Identity, presented: Credential | null, ackId?: number): void {
    try {
      if (socket.live) this.#count(socket, who);
    } catch (error) {
      this.#reject(socket, asAuthError(error), presented, ackId);
      return;
    }
    if (socket.feed("identified").length === 0) return; // it ended meanwhile
    socket.identify(who, tokenNameOf(who, presented));
    if (socket.host.socket.nsp._fns.length === 0) this.#connected(socket, null, ackId);
    else {
      this.#runMiddlewares(socket)
        .then((declined) => this.#connected(socket, declined, ackId))
        .catch((error: unknown) => this.#failed(socket, error));
    }
  }

  #connected(socket: GuardedSocket, declined: AuthError | null, ackId?: number): void {
    if (declined === null) {
      if (socket.feed("accepted").length > 0) this.#admit(socket, ackId);
      return;
    }
    const actions = socket.feed("declined");
    if (actions.length > 0) this.context.refusals.report(declined, socket.connection.address, socket);
    socket.carryOut(actions, declined);
  }

  #failed(socket: GuardedSocket, error: unknown): void {
    this.context.settings.log("a decision failed, so the connection is closed", error);
    socket.gone();
    socket.connection.close();
  }

  /**
   * Count a socket for its subject, if that is limited.
   *
   * @throws {LimitExceeded} the subject has too many.
   */
  #count(socket: GuardedSocket, who: Identity): void {
    const { usage } = this.context;
    if (usage === null || isGuest(who)) return;
    for (const connection of usage.connections(who)) {
      for (const other of connection.sockets.values()) if (!other.live) other.uncount(); // however long its transport takes
    }
    const oldest = usage.connect(who, socket.connection);
    socket.uncount(); // a guest who presents two tokens at once counts for one of them
    socket.countedFor = who;
    if (oldest === null) return;
    const closing = new Set<ConnectionState>();
    for (const other of [...oldest.sockets.values()]) {
      other.end("revoke", new LimitExceeded("sockets", "a newer connection took its place"), closing);
    }
    for (const connection of closing) connection.close();
  }

  /** Run the namespace's own middlewares; returns why it is refused, or null. */
  async #runMiddlewares({ host, identity }: GuardedSocket): Promise<AuthError | null> {
    try {
      await this.authorizer.inTime(runMiddlewares(host.socket));
      if (identity !== null) this.authorizer.checkStillValid(identity); // a middleware may have waited
      return null;
    } catch (error) {
      if (!(error instanceof Declined)) this.context.settings.log("a middleware failed, so the connection is refused", error);
      return asAuthError(error);
    }
  }

  #admit(socket: GuardedSocket, ackId?: number): void {
    const who = socket.identity;
    if (who === null) return;
    const { connection } = socket;
    this.context.timers.cancel(socket);
    socket.attempts = 0;
    socket.maxAttempts = this.#maxRenewals;
    socket.audit("admitted", { address: connection.address, source: who.source });
    socket.host.open(socket, () => this.#announce(socket, ackId));
  }

  #announce({ host, identity }: GuardedSocket, ackId?: number): void {
    const expiresAt = identity?.expiresAt ?? null;
    const left = expiresAt === null ? {} : { expires_in: Math.max(0, Math.floor(expiresAt - this.authorizer.now())) };
    host.send(contract.AUTHENTICATED, left);
    host.acknowledge(ackId, left);
  }

  /** Count a rejected token, tell the client and the log, and do what follows; `isValid` if it only cannot renew the socket. */
  #reject(socket: GuardedSocket, rejected: AuthError, presented: Credential | null, ackId?: number, isValid = false): void {
    const { connection, host } = socket;
    const verdict = isValid ? "within" : this.#verdictOn(rejected, connection.address);
    const error = verdict === "within" ? rejected : new TooManyAttempts(`more than ${this.context.settings.maxBadTokens} ${OVER}`);
    if (verdict !== "within" && connection.anonymous) socket.maxAttempts = 1;
    if (connection.anonymous && !error.temporary) {
      // Another namespace of the connection brings no new attempts.
      socket.attempts = connection.badTokens;
      connection.badTokens += 1;
    }
    const actions = socket.badToken(error.temporary && host.answered);
    if (verdict !== "over") this.context.refusals.report(error, connection.address, socket, presented);
    if (actions.length > 0 && host.answered) host.acknowledge(ackId, contract.rejected(error));
    socket.carryOut(actions, error);
  }

  /** Count a token that was never valid here for its address. */
  #verdictOn(error: AuthError, address: string): Verdict {
    return countsAsBad(error) ? this.context.badTokens.count(address, monotonic()) : "within";
  }

  /** One renewal after the other. A client that does not wait for the answers floods a verifier that is slow. */
  #renewLater(socket: GuardedSocket, find: Find, ackId?: number): void {
    if (socket.renewals >= MAX_RENEWALS) {
      socket.connection.violation("more tokens, without waiting for the answers");
      return;
    }
    socket.renewals += 1;
    socket.renewing = (socket.renewing ?? Promise.resolve()).then(() => this.#renew(socket, find, ackId)).finally(() => (socket.renewals -= 1));
  }

  /** A connected socket presents a later token of the same subject: its deadline moves, nothing else stops. */
  async #renew(socket: GuardedSocket, find: Find, ackId?: number): Promise<void> {
    if (!socket.admitted || socket.identity === null) return;
    const wasGuest = isGuest(socket.identity);
    socket.feed("present");
    let presented: Credential | null = null;
    let verified: Identity | null = null;
    try {
      this.socketAuthorizer.countEvent(socket);
      presented = find();
      verified = await this.authorizer.verify(presented as Credential);
      if (await this.#replaceIdentity(socket, verified, presented)) {
        socket.attempts = 0;
        socket.audit("refreshed", { address: socket.connection.address, source: "event" });
        if (wasGuest) this.socketAuthorizer.begin(socket);
      }
      if (socket.admitted) this.#announce(socket, ackId);
    } catch (caught) {
      const error = asAuthError(caught);
      if (error instanceof SubjectMismatch) socket.end("mismatch", error);
      else if (error instanceof PermissionDenied) socket.end("forbid", error);
      else {
        if (socket.identity !== null && isGuest(socket.identity)) socket.uncount(); // it takes nobody's place
        this.#reject(socket, error, presented, ackId, verified !== null);
      }
    }
  }

  /** Returns false if there is nothing to renew, or it is not open any more. */
  async #replaceIdentity(socket: GuardedSocket, verified: Identity, presented: Credential | null): Promise<boolean> {
    const { authorizer } = this;
    while (socket.identity !== null && authorizer.checkRefresh(socket.identity, verified)) {
      const renewed = await authorizer.mayConnect(verified, socket.namespace);
      if (!socket.admitted) return false;
      authorizer.checkStillValid(renewed);
      if (isGuest(socket.identity)) this.#count(socket, renewed);
      if (await this.socketAuthorizer.renew(socket, renewed, tokenNameOf(renewed, presented))) return true;
    }
    return false;
  }
}
