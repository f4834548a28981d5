/** Decisions about connected sockets: at every join, emit and event, and again when a token or a right changes. */

import { isThenable, safely } from "../core/calls.js";
import { type Identity, isGuest } from "../core/identity.js";
import { looksLikeSid } from "../core/names.js";
import { OWN_ROOM } from "../core/policy.js";
import { printable } from "../core/printable.js";
import { type AuthError, LimitExceeded, PermissionDenied, RevokedToken } from "../errors.js";
import { withoutSecrets } from "./audit.js";
import { type Authorizer, Decision, type DecisionKind, asAuthError } from "./authorizer.js";
import { monotonic } from "./clock.js";
import * as contract from "./contract.js";
import type { GuardContext, GuardedSocket } from "./socket.js";

/** Rooms that one socket may be in by the policy. */
const MAX_ROOMS = 1000;

type MaybePromise<T> = T | Promise<T>;

export class SocketAuthorizer {
  constructor(
    private readonly context: GuardContext,
    private readonly authorizer: Authorizer,
  ) {}

  /** A socket is open, or not a guest's any more: its deadlines run, and it enters its subject's own room. */
  begin(socket: GuardedSocket): void {
    if (socket.identity === null) return;
    this.context.expiry.watch(socket.identity, socket);
    socket.connection.packetLimit.lift();
    if (isGuest(socket.identity)) return; // it stays one of those that an address can have only so many of
    this.context.index.markAdmitted(socket.connection);
    const own = this.#ownRoom(socket);
    if (own !== null) safely(this.context.settings.log, "joining a subject's own room", () => void socket.host.socket.join(own)); // the seam logs a rejection
  }

  /** Put a socket into a room, if the policy lets it in. */
  async enterRoom(socket: GuardedSocket, room: string): Promise<void> {
    this.context.usage?.take(identityOf(socket), "joins", monotonic());
    await this.demand(socket, "room", room);
    if (room === this.#ownRoom(socket)) return; // it is there, and stays there
    if (socket.rooms.size >= MAX_ROOMS) {
      throw this.denied(socket, "room", room, new LimitExceeded("rooms", `${MAX_ROOMS} rooms on one socket`));
    }
    await socket.enter(room);
  }

  /** Take a socket out of a room that {@link enterRoom} put it into. */
  async leaveRoom(socket: GuardedSocket, room: string): Promise<void> {
    identityOf(socket);
    await socket.exit(room);
  }

  #ownRoom({ identity }: GuardedSocket): string | null {
    return this.context.settings.userRooms && identity !== null && !isGuest(identity) ? OWN_ROOM + identity.subject : null;
  }

  // The application's own joins

  /**
   * The application joins rooms. The policy decides if it has rules for rooms, without waiting unless one of them does.
   *
   * @param join what socket.io does.
   * @returns what `join` returns; a promise that rejects if it is denied, which nobody has to catch.
   */
  join(socket: GuardedSocket, rooms: string | readonly string[], join: (rooms: string | readonly string[]) => unknown): unknown {
    const asked = [rooms].flat();
    if (asked.every((room) => this.#isOwn(socket, room))) return join(rooms);
    try {
      const checked = asked.map((room) => this.#checkOwnJoin(socket, room)).filter(isThenable);
      if (checked.length === 0) return join(rooms);
      return unhandled(Promise.all(checked).then(() => join(rooms)));
    } catch (error) {
      return unhandled(Promise.reject(error as Error));
    }
  }

  /** True for a room that the socket is in by the guard, or that the guard puts it into. */
  #isOwn(socket: GuardedSocket, room: string): boolean {
    return room === socket.host.socket.id || room === this.#ownRoom(socket) || socket.rooms.has(room);
  }

  /** @throws {AuthError} the policy has rules for rooms and none allows this one; or it is the room of another subject. */
  #checkOwnJoin(socket: GuardedSocket, room: string): MaybePromise<void> {
    if (this.#isOwn(socket, room)) return;
    const { ownJoins } = this.context.settings;
    if (ownJoins === "policy" && this.authorizer.policy.hasRoomRules(socket.namespace)) {
      const add = (): void => void socket.ownRooms.add(room);
      const demanded = this.demand(socket, "room", room);
      if (isThenable(demanded)) return demanded.then(add);
      add();
    } else if (this.#isForeign(socket, room)) {
      throw this.denied(socket, "room", room);
    }
  }

  /** True for the room of a subject, or of one socket. */
  #isForeign(socket: GuardedSocket, room: unknown): boolean {
    if (typeof room !== "string") return false;
    return (this.context.settings.userRooms && room.startsWith(OWN_ROOM)) || socket.host.socket.nsp.sockets.has(room);
  }

  // What the policy says

  /** Count an event of a client. @throws {LimitExceeded} its subject sends too many. */
  countEvent(socket: GuardedSocket): void {
    this.context.usage?.take(identityOf(socket), "events", monotonic());
  }

  /** @throws {AuthError} the policy does not allow it, or the socket is not admitted. */
  demand(socket: GuardedSocket, kind: DecisionKind, name: string, event = ""): MaybePromise<void> {
    const check = ({ error }: Decision): void => {
      if (error !== null) throw this.denied(socket, kind, name, error);
    };
    const decision = this.decide(socket, kind, name, event);
    return isThenable(decision) ? decision.then(check) : check(decision);
  }

  /**
   * Decide about a request of a socket, with the rights that it has at the end.
   *
   * @throws {PermissionDenied} the socket is not admitted (any more).
   */
  decide(socket: GuardedSocket, kind: DecisionKind, name: string, event = ""): MaybePromise<Decision> {
    const who = identityOf(socket);
    if ((kind === "room" || kind === "emit") && isReserved(socket, name)) {
      return new Decision(kind, name, who, null, new PermissionDenied("the room is the ID of another socket"));
    }
    const finish = (decision: Decision): MaybePromise<Decision> => {
      identityOf(socket); // it may have ended while a rule waited
      if (socket.identity !== who) return this.decide(socket, kind, name, event); // the answer was about other rights
      const isOutside = kind === "emit" && decision.allowed && decision.rule === null && !socket.host.socket.rooms.has(name);
      return isOutside ? new Decision(kind, name, who, null, new PermissionDenied("the client is not in the room")) : decision;
    };
    const decision = this.authorizer.decide(who, kind, name, socket.namespace, event);
    return isThenable(decision) ? decision.then(finish) : finish(decision);
  }

  /** Record a denial in the audit log, and return the error to throw. */
  denied(socket: GuardedSocket, kind: string, name: unknown, error: AuthError = new PermissionDenied(`${kind} not allowed`)): AuthError {
    const named = typeof name === "string" ? name.slice(0, 400) : printable(name); // objects of the client's may fail to be text
    socket.audit("denied", { kind, name: withoutSecrets(named), reason: error.reason });
    return error;
  }

  // Changes of a connected socket

  /**
   * Give a socket another identity of the same subject, and take from it what that does not allow.
   *
   * @returns false if something else happened to it meanwhile; nothing was changed then.
   */
  async renew(socket: GuardedSocket, renewed: Identity, tokenName: string | null): Promise<boolean> {
    const { authorizer } = this;
    const old = socket.identity;
    const kept = new Set<string>();
    for (const room of socket.allRooms) {
      const { error } = await authorizer.decide(renewed, "room", room, socket.namespace, "", true);
      if (error === null) kept.add(room);
    }
    if (!socket.live || socket.identity !== old) return false;
    authorizer.checkStillValid(renewed);
    socket.identify(renewed, tokenName);
    if (renewed.expiresAt !== old?.expiresAt) this.context.expiry.watch(renewed, socket); // else its client would be warned twice
    const left = [...socket.allRooms].filter((room) => !kept.has(room)); // what was not asked about counts as lost
    for (const room of left) socket.loseRoom(room);
    if (left.length > 0) socket.host.send(contract.PERMISSIONS_CHANGED, { left: left.sort() });
    return true;
  }

  /** Rights of a subject were changed: what its sockets may not do any more ends. Returns how many were asked about. */
  async reconsider(subject: string): Promise<number> {
    const live = this.context.index.named("subject", subject).filter((socket) => socket.live);
    await Promise.all(live.map((socket) => this.#applyChange(socket)));
    return live.length;
  }

  /** What cannot be decided is a loss of rights. */
  async #applyChange(socket: GuardedSocket): Promise<void> {
    try {
      await this.#renewRights(socket);
    } catch (caught) {
      const error = asAuthError(caught); // it has expired or was revoked meanwhile
      socket.end(error instanceof RevokedToken ? "revoke" : "expire", error);
    }
  }

  async #renewRights(socket: GuardedSocket): Promise<void> {
    const { authorizer } = this;
    for (let old = socket.identity; old !== null && socket.live; old = socket.identity) {
      const renewed = authorizer.withRightsOfNow(old);
      const { error } = await authorizer.decide(renewed, "namespace", socket.namespace, socket.namespace);
      if (socket.identity !== old) continue;
      if (error !== null) {
        socket.end("forbid", error);
        return;
      }
      if (await this.renew(socket, renewed, socket.tokenName)) {
        socket.audit("updated");
        return;
      }
    }
  }
}

/** @throws {PermissionDenied} the socket is not admitted (any more). */
function identityOf(socket: GuardedSocket): Identity {
  if (!socket.identified || socket.identity === null) throw new PermissionDenied("this socket is not admitted");
  return socket.identity;
}

/** True for a room that is another socket's own. */
function isReserved({ host }: GuardedSocket, room: string): boolean {
  return looksLikeSid(room) || host.socket.nsp.sockets.has(room);
}

/** A promise whose rejection does not have to be handled: it was written to the audit log. */
function unhandled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
