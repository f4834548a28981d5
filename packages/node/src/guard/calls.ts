/** Calls of the application's functions: what they throw or reject is logged, and changes nothing. */

export type Log = (message: string, error?: unknown) => void;

/** Call something of the application's. */
export function safely(log: Log, what: string, call: () => unknown): void {
  const failed = (error: unknown): void => log(`${what} failed`, error);
  try {
    const result = call();
    if (isThenable(result)) result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}

/** True for a promise of any library. */
export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | null)?.then === "function";
}
