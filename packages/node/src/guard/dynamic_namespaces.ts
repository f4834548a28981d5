/**
 * Dynamic namespaces, which socket.io makes as soon as a stranger asks for one: those that nobody was ever admitted to do
 * not stay.
 */

import { type Log, attempt } from "../core/calls.js";
import type { HostChild, HostParent, HostServer } from "./host.js";

/** A connection that may have asked for a namespace. */
export interface Asker {
  /** True while a CONNECT of it for the namespace is under way or undecided, or its socket there is alive. */
  needs(name: string): boolean;
}

interface Child {
  readonly namespace: HostChild;
  readonly parent: HostParent;
  readonly askers: Set<Asker>;
  /** Somebody was admitted to it, or the application has it: socket.io's own settings say how long it stays. */
  isUsed: boolean;
}

type Find = (name: string, auth: unknown, next: (error: unknown, allow?: boolean) => void) => unknown;

export class DynamicNamespaces {
  readonly #children = new Map<string, Child>();
  #server: HostServer | null = null;
  /** A client's CONNECT looks a namespace up, not the application. */
  #isJoining = false;

  constructor(private readonly log: Log) {}

  /** Watch the dynamic namespaces of a server, those that it has and later ones. */
  watch(server: HostServer): void {
    this.#server = server;
    const before = [...server.parentNsps];
    server.parentNsps.clear();
    for (const [find, parent] of before) {
      server.parentNsps.set(this.#safe(find as Find), parent);
      this.#watchParent(parent);
    }
    const { of } = server;
    server.of = (name, ...more) => {
      const found = of.call(server, typeof name === "function" ? this.#safe(name as Find) : name, ...more);
      if (typeof name === "function" || name instanceof RegExp) this.#watchParent(found as HostParent);
      else if (!this.#isJoining) this.#use((found as HostChild).name);
      return found;
    };
  }

  /** Find a namespace for a client, or make it; `found` is called with false if there is none. */
  find(name: string, auth: unknown, found: (exists: boolean) => void): void {
    const server = this.#server as HostServer;
    if (server._nsps.has(name)) found(true);
    else server._checkNamespace(name, auth, (namespace) => found(Boolean(namespace)));
  }

  /** A client joins a namespace that exists. */
  join(name: string, asker: Asker, join: () => void): void {
    this.#children.get(name)?.askers.add(asker);
    this.#isJoining = true;
    try {
      join();
    } finally {
      this.#isJoining = false;
    }
  }

  /** A CONNECT of a client came to nothing, or its socket has ended. */
  left(name: string, asker: Asker): void {
    const child = this.#children.get(name);
    if (child === undefined) return;
    if (!asker.needs(name)) child.askers.delete(asker);
    setImmediate(() => this.#settle(name)); // socket.io cleans up first
  }

  /** Strangers have the functions of dynamic namespaces called: a failing one is a namespace that does not exist. */
  #safe(find: Find): Find {
    return (name, auth, next) => {
      let isAsking = true;
      const once: typeof next = (error, allow) => {
        if (!isAsking) return;
        isAsking = false;
        next(error, allow);
      };
      const failed = (error: unknown): void => {
        this.log("the function of a dynamic namespace failed, so there is no such namespace", error);
        once(null, false);
      };
      attempt(() => find(name, auth, once), failed);
    };
  }

  #watchParent(parent: HostParent): void {
    const { createChild } = parent;
    parent.createChild = (name) => {
      const known = this.#server?._nsps.get(name) as HostChild | undefined;
      if (known !== undefined) return known; // 4.0 would make a second one where two clients wait
      const namespace = createChild.call(parent, name);
      this.#children.set(name, { namespace, parent, askers: new Set(), isUsed: false });
      // socket.io's own removal forgets the sockets that are not decided about.
      const { _remove: remove } = Object.getPrototypeOf(namespace) as HostChild;
      namespace._remove = (socket) => {
        if (namespace.sockets.has(socket.id)) this.#use(name);
        remove.call(namespace, socket);
        this.#settle(name);
      };
      return namespace;
    };
  }

  /** Leave it to socket.io how long a namespace stays. */
  #use(name: string): void {
    const child = this.#children.get(name);
    if (child === undefined) return;
    child.isUsed = true;
    if (!this.#cleansUp) this.#children.delete(name);
  }

  get #cleansUp(): boolean {
    return this.#server?.opts?.cleanupEmptyChildNamespaces === true;
  }

  /** Remove a namespace that nobody needs. */
  #settle(name: string): void {
    const child = this.#children.get(name);
    if (child === undefined || child.namespace.sockets.size > 0 || isNeeded(child)) return;
    const { namespace, parent } = child;
    this.#children.delete(name);
    parent.children.delete(namespace);
    if (this.#server?._nsps.get(name) === namespace) this.#server._nsps.delete(name);
    attempt(
      () => namespace.adapter.close?.(),
      (error) => this.log("the adapter of a dynamic namespace failed to close", error),
    );
  }
}

function isNeeded({ askers, namespace }: Child): boolean {
  for (const asker of askers) {
    if (asker.needs(namespace.name)) return true;
    askers.delete(asker);
  }
  return false;
}
