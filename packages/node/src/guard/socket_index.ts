/** The connections and sockets of one guard, and the sockets of a token, a login session or a subject. */

import type { Identity } from "../core/identity.js";
import { networkOf } from "../core/networks.js";
import type { Kind } from "../core/revocations.js";

export interface IndexedConnection {
  readonly address: string;
  /** No socket of a user was ever admitted on it. */
  anonymous: boolean;
}

export interface IndexedSocket {
  identity: Identity | null;
}

/** `S` is a socket, `C` a connection, `K` the host's object that a connection belongs to. */
export class SocketIndex<K, C extends IndexedConnection, S extends IndexedSocket> {
  readonly connections = new Map<K, C>();
  readonly sockets = new Set<S>();
  // A name with one socket, as most are, needs no set of its own.
  readonly #named: Record<Kind, Map<string, S | Set<S>>> = { token: new Map(), session: new Map(), subject: new Map() };

  /** How many connections without an admitted socket each network has. */
  readonly #anonymous = new Map<string, number>();

  /** Add a connection, which does not have an admitted socket yet. */
  open(key: K, connection: C): void {
    this.connections.set(key, connection);
    this.#count(connection.address, 1);
  }

  /** How many connections without an admitted socket an address, or its /64 network, has. */
  anonymousFrom(address: string): number {
    return this.#anonymous.get(networkOf(address)) ?? 0;
  }

  /** Stop counting a connection for its address. */
  markAdmitted(connection: C): void {
    if (!connection.anonymous) return;
    connection.anonymous = false;
    this.#count(connection.address, -1);
  }

  /** Forget a connection. */
  close(key: K, connection: C): void {
    if (this.connections.delete(key)) this.markAdmitted(connection);
  }

  #count(address: string, change: number): void {
    const network = networkOf(address);
    const count = (this.#anonymous.get(network) ?? 0) + change;
    if (count > 0) this.#anonymous.set(network, count);
    else this.#anonymous.delete(network);
  }

  /** Set or replace the identity of a socket. */
  identify(socket: S, who: Identity): void {
    if (socket.identity !== null) this.#dropNames(socket, socket.identity);
    socket.identity = who;
    this.#addName(this.#named.token, who.tokenId, socket);
    this.#addName(this.#named.session, who.sessionId, socket);
    this.#addName(this.#named.subject, who.subject, socket);
  }

  #addName(named: Map<string, S | Set<S>>, name: string | null, socket: S): void {
    if (name === null || name === "") return;
    const others = named.get(name);
    if (others === undefined) named.set(name, socket);
    else if (others instanceof Set) others.add(socket);
    else if (others !== socket) named.set(name, new Set([others, socket]));
  }

  /** The sockets of one token, login session or subject, the oldest first. */
  named(kind: Kind, name: string): readonly S[] {
    const found = this.#named[kind].get(name);
    if (found === undefined) return [];
    return found instanceof Set ? [...found] : [found];
  }

  /** Forget a socket. Its identity stays, for the listeners of `disconnect`. */
  remove(socket: S): void {
    if (this.sockets.delete(socket) && socket.identity !== null) this.#dropNames(socket, socket.identity);
  }

  #dropNames(socket: S, who: Identity): void {
    dropName(this.#named.token, who.tokenId, socket);
    dropName(this.#named.session, who.sessionId, socket);
    dropName(this.#named.subject, who.subject, socket);
  }
}

function dropName<S>(named: Map<string, S | Set<S>>, name: string | null, socket: S): void {
  if (name === null) return;
  const found = named.get(name);
  if (found instanceof Set) found.delete(socket);
  if (found === socket || (found instanceof Set && found.size === 0)) named.delete(name);
}
