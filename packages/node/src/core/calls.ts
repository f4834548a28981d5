/** Calls of the application's functions: what they throw or reject is logged, and changes nothing. */

export type Log = (message: string, error?: unknown) => void;

/** Call something that may fail, immediately or later. */
export function attempt(call: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = call();
    if (isThenable(result)) result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}

/** Call something of the application's. */
export function safely(log: Log, what: string, call: () => unknown): void {
  attempt(call, (error) => log(`${what} failed`, error));
}

/** A log that does not fail: there is nowhere to tell that it did. */
export function unfailing(log: Log): Log {
  return (message, error) => attempt(() => log(message, error), ignore);
}

/** Do nothing about a failure. */
export function ignore(): void {
  // what fails has nobody to tell
}

/** True for a promise of any library. */
export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | null)?.then === "function";
}

/** The log of an application that has not set one. */
export function logToConsole(message: string, error?: unknown): void {
  console.error(`roomkey: ${message}`, ...(error === undefined ? [] : [error]));
}
