/** Decisions about events before they reach the application, and the events that the guard serves itself. */

import { isThenable, safely } from "../core/calls.js";
import { AUTHENTICATE, isEventName, isName } from "../core/names.js";
import { OPEN } from "../core/policy.js";
import { printable } from "../core/printable.js";
import { AuthError, ConfigError, ExpiredToken, ReauthenticationRequired, Unavailable } from "../errors.js";
import type { Authenticator } from "./authenticator.js";
import { type Authorizer, asAuthError } from "./authorizer.js";
import * as contract from "./contract.js";
import { ACK, BINARY_ACK, BINARY_EVENT, CONNECT_ERROR, EVENT, type Packet, argumentsOf } from "./host.js";
import type { GuardContext, GuardedSocket } from "./socket.js";
import type { SocketAuthorizer } from "./socket_authorizer.js";
import type { Pass } from "./socket_seam.js";

/** Serves an event of the guard's own. */
type Serve = (socket: GuardedSocket, name: string, args: readonly unknown[]) => Promise<void>;
type Acknowledge = ((data: object) => void) | null;

export class Events {
  /** Of the guard's own events, by name. */
  readonly #served = new Map<string, Serve>();
  /** Every event counts for its subject. */
  readonly #counted: boolean;

  constructor(
    private readonly context: GuardContext,
    private readonly authorizer: Authorizer,
    private readonly socketAuthorizer: SocketAuthorizer,
    private readonly authenticator: Authenticator,
  ) {
    this.#counted = context.settings.subjectLimits?.events !== undefined;
  }

  /** Serve `join-room` and `leave-room`. */
  serveRooms(): void {
    const { socketAuthorizer } = this;
    this.#served.set(contract.JOIN_ROOM, async (socket, _, [room]) => socketAuthorizer.enterRoom(socket, this.#roomName(socket, "room", room)));
    this.#served.set(contract.LEAVE_ROOM, async (socket, _, [room]) => socketAuthorizer.leaveRoom(socket, this.#roomName(socket, "room", room)));
  }

  /** @throws {ConfigError} a name that no event can have, an event of the guard's own, or one that is relayed already. */
  relay(names: readonly string[]): void {
    for (const name of names) {
      const refused = (why: string): ConfigError => new ConfigError(`cannot relay ${printable(name)}: ${why}`);
      if (!isEventName(name)) throw refused("it is not a valid event name; use another name");
      // A client could pretend to be the guard.
      if (contract.GUARD_EVENTS.has(name)) throw refused("only the guard sends and handles this event; rename yours");
      const isRepeated = this.#served.has(name) || names.filter((other) => other === name).length > 1;
      if (isRepeated) throw refused("it is relayed already; pass each name once");
    }
    for (const name of names) this.#served.set(name, (socket, event, args) => this.#relay(socket, event, args));
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
    if (packet.type === CONNECT_ERROR) {
      connection.violation("a packet that only servers send"); // before 4.5, socket.io writes it to the console
      return;
    }
    if (packet.type !== EVENT && packet.type !== BINARY_EVENT) {
      this.#acknowledged(socket, packet, pass);
      return;
    }
    const first: unknown = Array.isArray(packet.data) ? packet.data[0] : undefined;
    const name = typeof first === "number" ? String(first) : first; // socket.io calls the listeners of its text
    if (!isEventName(name)) {
      connection.violation("not an event, or one with a reserved or impossible name");
    } else if (name === AUTHENTICATE) {
      this.authenticator.authenticate(socket, packet);
    } else if (!this.#counted && !this.#served.has(name) && this.authorizer.policy.aboutEvent(name, socket.namespace) === OPEN) {
      this.#pass(name, packet, pass);
    } else {
      this.#decide(socket, packet, name, pass);
    }
  }

  /** An acknowledgement, or another packet that is not an event. Honest clients send a few late acknowledgements. */
  #acknowledged(socket: GuardedSocket, packet: Packet, pass: Pass): void {
    const isAck = packet.type === ACK || packet.type === BINARY_ACK;
    if (isAck && (packet.id === undefined || packet.id === null)) {
      socket.connection.violation("an acknowledgement without its id");
    } else if (isAck && !socket.host.socket.acks.has(packet.id)) {
      try {
        this.socketAuthorizer.countEvent(socket);
      } catch {
        // over its rate: it is dropped either way
      }
      socket.connection.unexpectedAck();
    } else safely(this.context.settings.log, "an acknowledgement's callback", () => pass(packet));
  }

  #pass(name: string, packet: Packet, pass: Pass): void {
    try {
      pass(packet);
    } catch (error) {
      this.context.settings.log(`the event ${name} failed`, error);
    }
  }

  /** An event that counts, that the policy has a rule about, or that the guard serves itself; waits only if a rule does. */
  #decide(socket: GuardedSocket, packet: Packet, name: string, pass: Pass): void {
    const failed = (error: unknown): void => this.#deny(socket, packet, name, error);
    try {
      this.socketAuthorizer.countEvent(socket);
      const demanded = this.socketAuthorizer.demand(socket, "event", name);
      const serve = this.#served.get(name);
      if (serve !== undefined) {
        Promise.resolve(demanded)
          .then(() => serve(socket, name, argumentsOf(packet)))
          .then(() => socket.host.acknowledge(packet.id, contract.accepted()))
          .catch(failed);
      } else if (isThenable(demanded)) {
        demanded.then(() => socket.admitted && this.#pass(name, packet, pass)).catch(failed);
      } else {
        this.#pass(name, packet, pass);
      }
    } catch (error) {
      failed(error);
    }
  }

  #deny(socket: GuardedSocket, { id }: Packet, name: string, error: unknown): void {
    const acknowledge = id === undefined || id === null ? null : (data: object) => socket.host.acknowledge(id, data);
    this.#answerError(socket, asAuthError(error), name, acknowledge);
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
