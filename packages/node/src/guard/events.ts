/** Decisions about events before they reach the application, and the events that the guard serves itself. */

import { AUTHENTICATE, isEventName, isName } from "../core/names.js";
import { OPEN } from "../core/policy.js";
import { AuthError, ConfigError, ExpiredToken, ReauthenticationRequired, Unavailable } from "../errors.js";
import type { Authenticator } from "./authenticator.js";
import { type Authorizer, asAuthError } from "./authorizer.js";
import { safely } from "./calls.js";
import * as contract from "./contract.js";
import { BINARY_EVENT, EVENT, type Packet, argumentsOf } from "./host.js";
import type { GuardContext, GuardedSocket } from "./socket.js";
import type { SocketAuthorizer } from "./socket_authorizer.js";
import type { Pass } from "./socket_seam.js";

/** Serves an event of the guard's own. */
type Serve = (socket: GuardedSocket, name: string, args: readonly unknown[]) => Promise<void>;
type Acknowledge = ((data: object) => void) | null;

export class Events {
  /** Of the guard's own events, by name. */
  readonly #served = new Map<string, Serve>();

  constructor(
    private readonly context: GuardContext,
    private readonly authorizer: Authorizer,
    private readonly socketAuthorizer: SocketAuthorizer,
    private readonly authenticator: Authenticator,
  ) {}

  /** Serve `join-room` and `leave-room`. */
  serveRooms(): void {
    const { socketAuthorizer } = this;
    this.#served.set(contract.JOIN_ROOM, async (socket, _, [room]) => socketAuthorizer.enterRoom(socket, this.#roomName(socket, "room", room)));
    this.#served.set(contract.LEAVE_ROOM, async (socket, _, [room]) => socketAuthorizer.leaveRoom(socket, this.#roomName(socket, "room", room)));
  }

  /** @throws {ConfigError} not an event's name, or one that has its own meaning. */
  relay(names: readonly string[]): void {
    for (const name of names) {
      if (!isEventName(name) || name === AUTHENTICATE || this.#served.has(name)) {
        throw new ConfigError(`'${name}' cannot be relayed: it is not an event's name, or has its own meaning`);
      }
      this.#served.set(name, (socket, event, args) => this.#relay(socket, event, args));
    }
  }

  async #relay(socket: GuardedSocket, name: string, [given, data = null]: readonly unknown[]): Promise<void> {
    const room = this.#roomName(socket, "emit", given);
    await this.socketAuthorizer.demand(socket, "emit", room, name);
    socket.host.socket.to(room).emit(name, { room, from: socket.identity?.subject ?? "", data });
  }

  #roomName(socket: GuardedSocket, kind: string, room: unknown): string {
    if (!isName(room)) throw this.socketAuthorizer.denied(socket, kind, room);
    return room;
  }

  /** A packet arrived on an open socket; `pass` hands it to the application. */
  arrived(socket: GuardedSocket, packet: Packet, pass: Pass): void {
    const { connection } = socket;
    if (!socket.admitted || connection.closing) return;
    const { log } = this.context.settings;
    if (packet.type !== EVENT && packet.type !== BINARY_EVENT) {
      safely(log, "an acknowledgement's callback", () => pass(packet));
      return;
    }
    const named: unknown = Array.isArray(packet.data) ? packet.data[0] : undefined;
    const name = typeof named === "number" ? String(named) : named;
    if (!isEventName(name)) {
      connection.violation("not an event, or one with a reserved or impossible name");
    } else if (name === AUTHENTICATE) {
      this.authenticator.authenticate(socket, packet);
    } else if (!this.#served.has(name) && this.authorizer.rulesAbout("event", name, socket.namespace, "") === OPEN) {
      safely(log, `the event ${name}`, () => pass(packet));
    } else {
      void this.#decide(socket, packet, name, pass);
    }
  }

  /** An event that the policy has a rule about, or that the guard serves itself. */
  async #decide(socket: GuardedSocket, packet: Packet, name: string, pass: Pass): Promise<void> {
    try {
      await this.socketAuthorizer.demand(socket, "event", name);
      const serve = this.#served.get(name);
      if (serve === undefined) {
        if (socket.admitted) safely(this.context.settings.log, `the event ${name}`, () => pass(packet));
        return;
      }
      await serve(socket, name, argumentsOf(packet));
      socket.host.acknowledge(packet.id, contract.accepted());
    } catch (error) {
      const { id } = packet;
      const acknowledge = id === undefined || id === null ? null : (data: object) => socket.host.acknowledge(id, data);
      this.#answerError(socket, asAuthError(error), name, acknowledge);
    }
  }

  /** Tell a client that an event was refused: by its acknowledgement, else by the event `error`. */
  #answerError(socket: GuardedSocket, error: AuthError, name: string, acknowledge: Acknowledge): void {
    if (!socket.admitted) return; // it has ended meanwhile, and has been told why
    if (error instanceof ReauthenticationRequired || error instanceof ExpiredToken) {
      socket.host.send(contract.REAUTHENTICATE, { event: name, ...(error.toClient() as object) });
    }
    if (acknowledge === null) socket.host.send(contract.ERROR, error.toClient() as object);
    else acknowledge(contract.rejected(error));
  }

  /** A handler of the application threw: an error of the guard's is the client's answer, any other is for the log. */
  handlerFailed(socket: GuardedSocket, error: unknown, event: string, acknowledge: Acknowledge): void {
    if (error instanceof AuthError) {
      this.#answerError(socket, error, event, acknowledge);
      return;
    }
    this.context.settings.log("the handler of an event failed", error);
    if (socket.admitted) acknowledge?.(contract.rejected(new Unavailable("a handler failed")));
  }
}
