/**
 * The application's functions that socket.io calls: what they throw or reject reaches the client as an error, and does not
 * end the process.
 */

import { attempt, isThenable } from "../core/calls.js";

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
    // Not attempt(), which takes a function for each: this is called for every event.
    try {
      const result = Reflect.apply(listener, emitter, args);
      if (isThenable(result)) result.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }
  return listeners.length > 0;
}

type AnyFunction = (...args: unknown[]) => unknown;
type Register = (listener?: AnyFunction) => unknown;

/** The prototype of socket.io's sockets: what an application registers functions with. */
export interface Registrar {
  use(middleware: AnyFunction): unknown;
  emit(...args: unknown[]): unknown;
  onAny: Register;
  prependAny: Register;
  offAny: Register;
  // since 4.5
  onAnyOutgoing?: Register;
  prependAnyOutgoing?: Register;
  offAnyOutgoing?: Register;
}

/** Who wants to know of failing functions; each returns what to call. */
export interface CallbackWatchers {
  /** A middleware of a socket got an event: its name, its arguments, and its acknowledgement. */
  middleware(socket: object, event: unknown[]): Failed;
  /** A catch-all listener, or the callback of an acknowledgement. */
  callback(socket: object, what: string): Failed;
}

/** Call the functions that are registered with all sockets of this prototype so that a failure is reported. */
export function callCallbacksSafely(prototype: Registrar, watchers: CallbackWatchers): void {
  const { use, emit } = prototype;
  prototype.use = function (this: Registrar, middleware) {
    return use.call(this, (event, next) => attempt(() => middleware(event, next), watchers.middleware(this, event as unknown[])));
  };
  prototype.emit = function (this: Registrar, ...args) {
    const callback = args.at(-1);
    if (typeof callback === "function") args[args.length - 1] = safeCallback(callback as AnyFunction, "an acknowledgement's callback", watchers);
    return emit.apply(this, args);
  };
  const known = new WeakMap<AnyFunction, AnyFunction>(); // to find what is to be removed
  const safe = (listener: AnyFunction): AnyFunction => {
    const found = known.get(listener) ?? safeCallback(listener, "a catch-all listener", watchers);
    known.set(listener, found);
    return found;
  };
  for (const name of ["onAny", "prependAny", "offAny", "onAnyOutgoing", "prependAnyOutgoing", "offAnyOutgoing"] as const) {
    const register = prototype[name];
    if (!register) continue;
    prototype[name] = function (this: Registrar, listener) {
      return register.call(this, typeof listener === "function" ? safe(listener) : listener);
    };
  }
}

function safeCallback(callback: AnyFunction, what: string, watchers: CallbackWatchers): AnyFunction {
  return function (this: object, ...args) {
    attempt(() => Reflect.apply(callback, this, args), watchers.callback(this, what));
  };
}
