/** One guarded socket: it owns its admission, identity, rooms and end. */

import { type Action, Admission, type Input } from "../core/admission.js";
import { type Credential, fromEvent, fromHandshake, hasCredentials } from "../core/credentials.js";
import { AUTHENTICATE, isEventName } from "../core/event_names.js";
import { type Identity, isGuest } from "../core/identity.js";
import { looksLikeSid } from "../core/names.js";
import { OPEN, OWN_ROOM } from "../core/policy.js";
import {
  AuthError,
  CredentialsError,
  Declined,
  ExpiredToken,
  LimitExceeded,
  PermissionDenied,
  ReauthenticationRequired,
  SubjectMismatch,
  Unavailable,
} from "../errors.js";
import { withoutSecrets } from "./audit.js";
import { asAuthError, type DecisionKind } from "./authorizer.js";
import type { GuardedConnection } from "./connection.js";
import * as contract from "./contract.js";
import { type Core, tokenName } from "./core.js";
import { ACK, BINARY_EVENT, CONNECT, DISCONNECT, type Done, EVENT, type HostSocket, type Packet } from "./host.js";
import { runMiddlewares } from "./middlewares.js";
import { monotonic } from "./timers.js";

/** Rooms that one socket may be in by the policy. */
const MAX_ROOMS = 1000;

export class GuardedSocket {
  identity: Identity | null = null;
  tokenName: string | null = null;
  /** The rooms that the policy let it into. */
  readonly rooms = new Set<string>();
  /** Packets that were missed before a recovery; they are sent once it is admitted. */
  missed: readonly unknown[] = [];
  readonly #admission: Admission;
  /** The client has received the CONNECT reply, so that it can be told things by events. */
  #answered = false;
  #done: Done | null;
  #refreshing: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly core: Core,
    readonly connection: GuardedConnection,
    readonly socket: HostSocket,
    done: Done,
  ) {
    this.#admission = new Admission(core.options.later ? core.options.maxAttempts : 1);
    this.#done = done;
  }

  get namespace(): string {
    return this.socket.nsp.name;
  }

  /** True until it is refused or ended. */
  get live(): boolean {
    return this.#admission.live;
  }

  /** True while it is open. */
  get admitted(): boolean {
    return this.#admission.admitted;
  }

  feed(input: Input): readonly Action[] {
    return this.#admission.feed(input);
  }

  // Admission

  /** A CONNECT arrived: decide about its token, or leave it open until `authenticate`. */
  begin(): void {
    const { sources, later, required, timeout } = this.core.options;
    const { auth } = this.socket.handshake;
    const presents = sources !== null && hasCredentials(sources, auth, this.connection.carried);
    const waited = this.connection.anonymous ? monotonic() - this.connection.openedAt : 0;
    this.core.timers.after(this, later ? Math.max(0, timeout - waited) : timeout);
    if (!presents && !required) {
      void this.#decide(() => null);
    } else if (sources === null || (later && !presents)) {
      this.#quarantine();
    } else {
      this.#admission.maxAttempts = 1;
      void this.#decide(() => fromHandshake(sources, auth, this.connection.carried));
    }
  }

  /** Answer the CONNECT ourselves, and take what the client sends: socket.io does not know the socket yet. */
  #quarantine(): void {
    const { client } = this.socket;
    clearTimeout(client.connectTimeout); // the guard's own deadline counts
    client.nsps.set(this.namespace, {
      id: this.socket.id,
      nsp: this.socket.nsp,
      _onpacket: (packet: Packet) => this.#packetInQuarantine(packet),
      _onclose: () => undefined,
      _onerror: () => undefined,
      disconnect: () => undefined,
    });
    this.#answered = true;
    this.socket.packet({ type: CONNECT, data: { sid: this.socket.id } }); // without a pid: there is nothing to recover
  }

  #packetInQuarantine(packet: Packet): void {
    if (this.admitted) {
      // It arrived before socket.io replaced the stub.
      setImmediate(() => this.socket.connected && this.socket._onpacket(packet));
    } else if (packet.type === DISCONNECT) {
      this.gone();
    } else if (this.#isAuthenticate(packet)) {
      void this.#decide(() => fromEvent(argumentsOf(packet)), packet.id);
    } else {
      this.end("packet", new CredentialsError("a packet before admission"));
    }
  }

  #isAuthenticate(packet: Packet): boolean {
    return packet.type === EVENT && Array.isArray(packet.data) && packet.data[0] === AUTHENTICATE;
  }

  /** The one path from a presented token (null for a guest) to an open namespace. */
  async #decide(find: () => Credential | null, ackId?: number): Promise<void> {
    if (!this.feed("present").includes("verify")) return;
    let presented: Credential | null = null;
    try {
      if (this.connection.isFlood()) return;
      presented = find();
      const who = await this.core.authorizer.identify(presented, this.namespace);
      if (this.feed("identified").length === 0) return; // it ended meanwhile
      this.#is(who, presented);
    } catch (error) {
      this.#badToken(asAuthError(error), presented, ackId);
      return;
    }
    const declined = await this.#connecting();
    if (declined === null && this.feed("accepted").length > 0) {
      this.#admit(ackId);
    } else if (declined !== null) {
      const actions = this.feed("declined");
      if (actions.length > 0) this.core.refused(declined, this.connection, this);
      this.#perform(actions, declined);
    }
  }

  #is(who: Identity, presented: Credential | null): void {
    this.identity = who;
    this.tokenName = tokenName(who, presented);
    this.socket.data.identity = who;
  }

  /** Run the namespace's own middlewares; returns why it is refused, or null. */
  async #connecting(): Promise<AuthError | null> {
    const { authorizer, options } = this.core;
    try {
      if (this.socket.nsp._fns.length > 0) await authorizer.inTime(runMiddlewares(this.socket));
      if (this.identity !== null) authorizer.checkStillValid(this.identity); // a middleware may have waited
      return null;
    } catch (error) {
      if (!(error instanceof Declined)) options.log("a middleware failed, so the connection is refused", error);
      return asAuthError(error);
    }
  }

  #admit(ackId?: number): void {
    const who = this.identity;
    if (who === null) return;
    if (!isGuest(who)) this.connection.anonymous = false;
    this.core.timers.cancel(this);
    this.#admission.attempts = 0;
    this.#admission.maxAttempts = this.core.options.later ? this.core.options.maxAttempts : this.core.options.maxRefusals;
    this.core.audit("admitted", this, { address: this.connection.address, source: who.source });
    this.#intercept(this.#answered ? () => this.#tellAuthenticated(ackId) : null);
    this.#answered = true;
    this.#finish();
  }

  /**
   * Stand where packets go in and out of the socket, below `onAny`, `socket.use` and all listeners.
   *
   * @param announce tells a client that has had its CONNECT reply already; null lets socket.io send it.
   */
  #intercept(announce: (() => void) | null): void {
    const { socket } = this;
    const { packet, _onpacket: onPacket, _onclose: onClose } = socket;
    socket.packet = (sent, options) => {
      if (sent.type !== CONNECT) {
        packet.call(socket, sent, options);
        return;
      }
      socket.packet = packet; // the one CONNECT that socket.io writes, in the moment in which the socket is open
      for (const data of this.missed) packet.call(socket, { type: EVENT, data });
      this.#opened();
      if (announce === null) packet.call(socket, sent, options);
      else process.nextTick(announce); // after the listeners of `connection`
    };
    socket._onpacket = (received) => this.#arrived(received, (passed) => onPacket.call(socket, passed));
    socket._onclose = (reason, description) => {
      const result = onClose.call(socket, reason, description);
      if (!socket.connected) this.gone();
      return result;
    };
  }

  /** Its deadlines run, and it enters its subject's own room. */
  #opened(): void {
    this.core.watch(this);
    const who = this.identity;
    if (who !== null && this.core.options.userRooms && !isGuest(who)) void this.socket.join(OWN_ROOM + who.subject);
    this.#rememberRooms();
  }

  #tellAuthenticated(ackId?: number): void {
    const expiresAt = this.identity?.expiresAt ?? null;
    const left = expiresAt === null ? {} : { expires_in: Math.max(0, Math.floor(expiresAt - this.core.authorizer.now())) };
    this.send(contract.AUTHENTICATED, left);
    this.#acknowledge(ackId, left);
  }

  // The end

  /** Count a rejected token, tell the client and the log, and do what follows. */
  #badToken(error: AuthError, presented: Credential | null, ackId?: number): void {
    const isTemporary = error.temporary && this.#answered;
    if (this.connection.anonymous && !error.temporary) {
      // Another namespace of the connection brings no new attempts.
      this.#admission.attempts = this.connection.badTokens;
      this.connection.badTokens += 1;
    }
    const actions = this.#admission.badToken(isTemporary);
    this.core.refused(error, this.connection, this, presented ?? undefined);
    if (actions.length > 0 && this.#answered) this.#acknowledge(ackId, contract.rejected(error));
    this.#perform(actions, error);
  }

  /** End it from outside: its state changes now, so that nothing reaches it any more. */
  end(why: Input, error: AuthError): void {
    const wasAdmitted = this.admitted;
    const actions = this.feed(why);
    if (actions.length === 0) return;
    if (wasAdmitted) {
      this.core.audit("ended", this, { reason: error.reason, check: error.detail, address: this.connection.address });
    } else {
      this.core.refused(error, this.connection, this);
    }
    this.#perform(actions, error);
  }

  /** Report, disconnect, close. Before the CONNECT reply, socket.io answers with CONNECT_ERROR. */
  #perform(actions: readonly Action[], error: AuthError): void {
    if (actions.length === 0) return;
    if (!this.#answered) {
      this.feed("gone");
      this.#leave();
      this.#finish(error);
      this.connection.refusedOne();
      return;
    }
    if (actions.includes("report")) this.send(contract.UNAUTHORIZED, contract.unauthorized(error));
    if (actions.includes("disconnect")) this.#disconnect();
    if (actions.includes("close")) this.connection.close();
    else if (actions.includes("disconnect")) this.connection.leftOne();
  }

  #disconnect(): void {
    if (this.socket.connected) {
      this.socket.disconnect();
    } else {
      this.socket.packet({ type: DISCONNECT });
      this.gone();
      if (this.#admission.state === "ended") this.connection.close(); // admitted, and socket.io is about to open it
    }
  }

  /** The client left, or the transport closed. */
  gone(): void {
    this.feed("gone");
    this.#leave();
    if (this.#done !== null) {
      this.socket.packet = () => undefined; // socket.io would answer a client that is not there
      this.#finish(new Unavailable("the client left"));
    }
    this.connection.left();
  }

  /** Forget it on its connection. */
  #leave(): void {
    this.core.timers.forget(this);
    const { sockets, client } = this.connection;
    if (sockets.get(this.namespace) !== this) return;
    sockets.delete(this.namespace);
    if (!this.socket.connected && client.nsps.get(this.namespace) !== this.socket) client.nsps.delete(this.namespace);
  }

  /** Let socket.io open the socket, or clean up after it; exactly once. */
  #finish(error?: AuthError): void {
    const done = this.#done;
    this.#done = null;
    done?.(error);
  }

  /** Send an event straight to the socket, past the adapter and its recovery store. */
  send(event: string, data: object): void {
    this.socket.packet({ type: EVENT, data: [event, data] });
  }

  #acknowledge(id: number | undefined, data: object): void {
    if (id !== undefined && id !== null) this.socket.packet({ type: ACK, id, data: [data] });
  }

  // Packets of an admitted socket

  #arrived(packet: Packet, pass: (packet: Packet) => void): void {
    if (!this.admitted || this.connection.closing) return;
    if (packet.type !== EVENT && packet.type !== BINARY_EVENT) {
      this.core.safely("an acknowledgement's callback", () => pass(packet));
      return;
    }
    const named: unknown = Array.isArray(packet.data) ? packet.data[0] : undefined;
    const name = typeof named === "number" ? String(named) : named;
    if (!isEventName(name)) {
      this.connection.violation("not an event, or one with a reserved or impossible name");
    } else if (name === AUTHENTICATE) {
      if (!this.connection.isFlood()) this.#refreshing = this.#refreshing.then(() => this.#refresh(packet));
    } else if (!this.core.served.has(name) && this.core.authorizer.rulesAbout("event", name, this.namespace, "") === OPEN) {
      this.core.safely(`the event ${name}`, () => pass(packet));
    } else {
      void this.#asked(packet, name, pass);
    }
  }

  /** An event that the policy has a rule about, or that the guard serves itself. */
  async #asked(packet: Packet, name: string, pass: (packet: Packet) => void): Promise<void> {
    try {
      await this.demand("event", name);
      const serve = this.core.served.get(name);
      if (serve === undefined) {
        if (this.admitted) this.core.safely(`the event ${name}`, () => pass(packet));
        return;
      }
      await serve(this, name, argumentsOf(packet));
      this.#acknowledge(packet.id, contract.accepted());
    } catch (error) {
      const { id } = packet;
      const acknowledge = id === undefined || id === null ? null : (data: object) => this.#acknowledge(id, data);
      this.#answerError(asAuthError(error), name, acknowledge);
    }
  }

  /** Tell a client that an event was refused: by its acknowledgement, else by the event `error`. */
  #answerError(error: AuthError, name: string, acknowledge: ((data: object) => void) | null): void {
    if (!this.admitted) return; // it has ended meanwhile, and has been told why
    if (error instanceof ReauthenticationRequired || error instanceof ExpiredToken) {
      this.send(contract.REAUTHENTICATE, { event: name, ...(error.toClient() as object) });
    }
    if (acknowledge === null) this.send(contract.ERROR, error.toClient() as object);
    else acknowledge(contract.rejected(error));
  }

  /** A handler of the application threw: an error of the guard's is the client's answer, any other is for the log. */
  handlerFailed(error: unknown, event: string, acknowledge: ((data: object) => void) | null): void {
    if (error instanceof AuthError) {
      this.#answerError(error, event, acknowledge);
      return;
    }
    this.core.options.log("the handler of an event failed", error);
    if (this.admitted) acknowledge?.(contract.rejected(new Unavailable("a handler failed")));
  }

  /** A connected socket presents a later token of the same subject: its deadline moves, nothing else stops. */
  async #refresh(packet: Packet): Promise<void> {
    if (!this.admitted || this.identity === null) return;
    const wasGuest = isGuest(this.identity);
    this.feed("present");
    let presented: Credential | null = null;
    try {
      presented = fromEvent(argumentsOf(packet));
      const verified = await this.core.authorizer.verify(presented);
      const renewed = await this.#renewBy(verified, presented);
      if (renewed) {
        this.#admission.attempts = 0;
        this.core.audit("refreshed", this, { address: this.connection.address, source: "event" });
        if (wasGuest) {
          this.connection.anonymous = false;
          this.#opened();
        }
      }
      if (this.admitted) this.#tellAuthenticated(packet.id);
    } catch (caught) {
      const error = asAuthError(caught);
      if (error instanceof SubjectMismatch) this.end("mismatch", error);
      else if (error instanceof PermissionDenied) this.end("forbid", error);
      else this.#badToken(error, presented, packet.id);
    }
  }

  /** Returns false if there is nothing to renew, or it is not open any more. */
  async #renewBy(verified: Identity, presented: Credential): Promise<boolean> {
    const { authorizer } = this.core;
    while (this.identity !== null && authorizer.checkRefresh(this.identity, verified)) {
      const renewed = await authorizer.mayConnect(verified, this.namespace);
      if (!this.admitted) return false;
      authorizer.checkStillValid(renewed);
      if (await this.renew(renewed, tokenName(renewed, presented))) return true;
    }
    return false;
  }

  // Rooms, and what the policy says

  /** Give it another identity of the same subject, and take from it what that does not allow. */
  async renew(renewed: Identity, named: string | null): Promise<boolean> {
    const { authorizer } = this.core;
    const old = this.identity;
    const kept = new Set<string>();
    for (const room of [...this.rooms]) {
      const { error } = await authorizer.decide(renewed, "room", room, this.namespace, "", true);
      if (error === null) kept.add(room);
    }
    if (!this.live || this.identity !== old) return false; // something else happened to it meanwhile
    authorizer.checkStillValid(renewed);
    this.identity = renewed;
    this.tokenName = named;
    this.socket.data.identity = renewed;
    if (renewed.expiresAt !== old?.expiresAt) this.core.watch(this); // else its client would be warned a second time
    const left = [...this.rooms].filter((room) => !kept.has(room)); // what was not asked about counts as lost
    for (const room of left) this.#exit(room);
    if (left.length > 0) this.send(contract.PERMISSIONS_CHANGED, { left: left.sort() });
    return true;
  }

  /** Rights of its subject were changed: what it may not do any more ends. */
  async rightsChanged(): Promise<void> {
    const { authorizer } = this.core;
    for (let old = this.identity; old !== null && this.live; old = this.identity) {
      const renewed = authorizer.withRightsOfNow(old);
      const { error } = await authorizer.decide(renewed, "namespace", this.namespace, this.namespace);
      if (this.identity !== old) continue;
      if (error !== null) {
        this.end("forbid", error);
        return;
      }
      if (await this.renew(renewed, this.tokenName)) {
        this.core.audit("updated", this);
        return;
      }
    }
  }

  /** Put it into a room, if the policy lets it in. */
  async enterRoom(room: string): Promise<void> {
    await this.demand("room", room);
    if (room === this.#ownRoom) return; // it is there, and stays there
    if (this.rooms.size >= MAX_ROOMS) throw this.denied("room", room, new LimitExceeded("rooms", `${MAX_ROOMS} rooms on one socket`));
    this.rooms.add(room);
    this.#rememberRooms();
    await this.socket.join(room);
  }

  /** Take it out of a room that {@link enterRoom} put it into. */
  async leaveRoom(room: string): Promise<void> {
    this.#checkOpen();
    if (this.rooms.has(room)) await this.#exit(room);
  }

  #exit(room: string): unknown {
    this.rooms.delete(room);
    this.#rememberRooms();
    return this.socket.leave(room);
  }

  /** With the session of a recovery, so that the policy is asked about them when the client returns. */
  #rememberRooms(): void {
    this.socket.data.guardedRooms = [...this.rooms];
  }

  get #ownRoom(): string | null {
    const who = this.identity;
    return this.core.options.userRooms && who !== null && !isGuest(who) ? OWN_ROOM + who.subject : null;
  }

  /** @throws {AuthError} the policy does not allow it, or the socket is not admitted. */
  async demand(kind: DecisionKind, name: string, event = ""): Promise<void> {
    for (;;) {
      this.#checkOpen();
      const who = this.identity as Identity;
      if (kind !== "event" && this.#isReserved(name)) {
        throw this.denied(kind, name, new PermissionDenied("a socket's ID is not a room for others"));
      }
      const { error, rule } = await this.core.authorizer.decide(who, kind, name, this.namespace, event);
      this.#checkOpen(); // it may have ended while a rule waited
      if (this.identity !== who) continue; // the answer was about other rights
      if (error !== null) throw this.denied(kind, name, error);
      if (kind === "emit" && rule === null && !this.socket.rooms.has(name)) {
        throw this.denied(kind, name, new PermissionDenied("it is not in the room"));
      }
      return;
    }
  }

  #isReserved(room: string): boolean {
    return looksLikeSid(room) || this.socket.nsp.sockets.has(room);
  }

  #checkOpen(): void {
    if (!this.admitted || this.identity === null) throw new PermissionDenied("this socket is not admitted");
  }

  /** Write down that something was denied; returns the error to throw. */
  denied(kind: string, name: unknown, error: AuthError = new PermissionDenied(`${kind} not allowed`)): AuthError {
    this.core.audit("denied", this, { kind, name: withoutSecrets(String(name).slice(0, 400)), reason: error.reason });
    return error;
  }
}

function argumentsOf(packet: Packet): readonly unknown[] {
  return Array.isArray(packet.data) ? packet.data.slice(1) : [];
}
