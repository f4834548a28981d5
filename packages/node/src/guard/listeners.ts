/** Calls of the application's listeners: what they throw reaches the client as an error, and does not end the process. */

import { isThenable } from "./calls.js";

/** The prototype of socket.io's namespaces and sockets. */
export interface Emitter {
  rawListeners(event: string): ((...args: unknown[]) => unknown)[];
  emitReserved(event: string, ...args: unknown[]): unknown;
  emitUntyped(event: string, ...args: unknown[]): unknown;
}

export type Failed = (error: unknown) => void;

/** Who wants to know of failing listeners. */
export interface Watchers {
  /** Returns what to call for an event of a client, or null for an emitter that is not guarded. */
  event(emitter: object, event: string, args: unknown[]): Failed | null;
  /** Returns what to call for an event of socket.io's own, or null. */
  reserved(emitter: object, event: string, args: unknown[]): Failed | null;
}

/** Call the listeners of all emitters with this prototype one by one. */
export function callListenersSafely(prototype: Emitter, watchers: Watchers): void {
  const { emitReserved, emitUntyped } = prototype;
  prototype.emitUntyped = function (this: Emitter, event, ...args) {
    const failed = watchers.event(this, event, args);
    return failed === null ? emitUntyped.call(this, event, ...args) : callAll(this, event, args, failed);
  };
  prototype.emitReserved = function (this: Emitter, event, ...args) {
    const failed = watchers.reserved(this, event, args);
    return failed === null ? emitReserved.call(this, event, ...args) : callAll(this, event, args, failed);
  };
}

function callAll(emitter: Emitter, event: string, args: unknown[], failed: Failed): boolean {
  const listeners = emitter.rawListeners(event);
  for (const listener of listeners) {
    try {
      const result = Reflect.apply(listener, emitter, args);
      if (isThenable(result)) result.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }
  return listeners.length > 0;
}
