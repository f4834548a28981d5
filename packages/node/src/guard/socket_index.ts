/** The connections and sockets of one guard, and the sockets of a token, a login session or a subject. */

import type { Identity } from "../core/identity.js";
import type { Kind } from "../core/revocations.js";

export interface IndexedSocket {
  identity: Identity | null;
}

/** `S` is a socket, `C` a connection, `K` the host's object that a connection belongs to. */
export class SocketIndex<K, C, S extends IndexedSocket> {
  readonly connections = new Map<K, C>();
  readonly sockets = new Set<S>();
  // A name with one socket, as most are, needs no set of its own.
  readonly #named: Record<Kind, Map<string, S | Set<S>>> = { token: new Map(), session: new Map(), subject: new Map() };

  /** Set or replace the identity of a socket. */
  identify(socket: S, who: Identity): void {
    if (socket.identity !== null) this.#dropNames(socket, socket.identity);
    socket.identity = who;
    for (const [kind, name] of namesOf(who)) {
      const named = this.#named[kind];
      const others = named.get(name);
      if (others === undefined) named.set(name, socket);
      else if (others instanceof Set) others.add(socket);
      else if (others !== socket) named.set(name, new Set([others, socket]));
    }
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
    for (const [kind, name] of namesOf(who)) {
      const named = this.#named[kind];
      const found = named.get(name);
      if (found instanceof Set) found.delete(socket);
      if (found === socket || (found instanceof Set && found.size === 0)) named.delete(name);
    }
  }
}

function namesOf(who: Identity): [Kind, string][] {
  const names: [Kind, string | null][] = [
    ["token", who.tokenId],
    ["session", who.sessionId],
    ["subject", who.subject],
  ];
  return names.filter((named): named is [Kind, string] => named[1] !== null && named[1] !== "");
}
