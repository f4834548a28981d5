/** What a connected socket can do: its rooms, its events, and what changes when its rights change. */

import { type Identity, isGuest } from "../core/identity.js";
import { looksLikeSid } from "../core/names.js";
import { OWN_ROOM } from "../core/policy.js";
import { printable } from "../core/printable.js";
import { type AuthError, LimitExceeded, PermissionDenied, RevokedToken } from "../errors.js";
import { withoutSecrets } from "./audit.js";
import { type Authorizer, type DecisionKind, asAuthError } from "./authorizer.js";
import { safely } from "./calls.js";
import * as contract from "./contract.js";
import type { GuardContext, GuardedSocket } from "./socket.js";

/** Rooms that one socket may be in by the policy. */
const MAX_ROOMS = 1000;

export class SocketAuthorizer {
  constructor(
    private readonly context: GuardContext,
    private readonly authorizer: Authorizer,
  ) {}

  /** A socket is open, or not a guest's any more: its deadlines run, and it enters its subject's own room. */
  begin(socket: GuardedSocket): void {
    if (socket.identity !== null) this.context.expiry.watch(socket.identity, socket);
    const own = this.#ownRoom(socket);
    if (own !== null) safely(this.context.settings.log, "joining a subject's own room", () => socket.host.socket.join(own));
  }

  /** Put a socket into a room, if the policy lets it in. */
  async enterRoom(socket: GuardedSocket, room: string): Promise<void> {
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

  /** @throws {AuthError} the policy does not allow it, or the socket is not admitted. */
  async demand(socket: GuardedSocket, kind: DecisionKind, name: string, event = ""): Promise<void> {
    for (;;) {
      const who = identityOf(socket);
      if (kind !== "event" && isReserved(socket, name)) {
        throw this.denied(socket, kind, name, new PermissionDenied("a socket's ID is not a room for others"));
      }
      const { error, rule } = await this.authorizer.decide(who, kind, name, socket.namespace, event);
      identityOf(socket); // it may have ended while a rule waited
      if (socket.identity !== who) continue; // the answer was about other rights
      if (error !== null) throw this.denied(socket, kind, name, error);
      if (kind === "emit" && rule === null && !socket.host.socket.rooms.has(name)) {
        throw this.denied(socket, kind, name, new PermissionDenied("it is not in the room"));
      }
      return;
    }
  }

  /** Write down that something was denied; returns the error to throw. */
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
    for (const room of [...socket.rooms]) {
      const { error } = await authorizer.decide(renewed, "room", room, socket.namespace, "", true);
      if (error === null) kept.add(room);
    }
    if (!socket.live || socket.identity !== old) return false;
    authorizer.checkStillValid(renewed);
    socket.identify(renewed, tokenName);
    if (renewed.expiresAt !== old?.expiresAt) this.context.expiry.watch(renewed, socket); // else its client would be warned twice
    const left = [...socket.rooms].filter((room) => !kept.has(room)); // what was not asked about counts as lost
    for (const room of left) safely(this.context.settings.log, "leaving a room", () => socket.exit(room));
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
  if (!socket.admitted || socket.identity === null) throw new PermissionDenied("this socket is not admitted");
  return socket.identity;
}

/** True for a room that is another socket's own. */
function isReserved({ host }: GuardedSocket, room: string): boolean {
  return looksLikeSid(room) || host.socket.nsp.sockets.has(room);
}
