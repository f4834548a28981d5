/** One timer for all deadlines of a guard. */

import { Deadlines } from "../core/deadlines.js";

/** Milliseconds: a wall clock may be set, and a laptop may sleep; this much later the deadlines know. */
const LONGEST_SLEEP = 1000;

/** Intervals on the monotonic clock, expiries on the wall clock, one timer for both. It does not keep a process alive. */
export class Timers<K> {
  readonly #intervals = new Deadlines<K>();
  readonly #expiries = new Deadlines<K>();
  #timer: NodeJS.Timeout | null = null;
  #wakesAt = Infinity;

  /**
   * @param now seconds since the epoch.
   * @param waited called with each key whose interval has passed.
   * @param expired called with each key whose expiry has passed.
   */
  constructor(
    private readonly now: () => number,
    private readonly waited: (key: K) => void,
    private readonly expired: (key: K) => void,
  ) {}

  /** Call back after an interval in seconds, unless it is cancelled. */
  after(key: K, seconds: number): void {
    this.#intervals.set(key, monotonic() + seconds);
    this.#wake();
  }

  /** Call back at a time in seconds since the epoch, unless it is cancelled or moved. */
  at(key: K, when: number): void {
    this.#expiries.set(key, when);
    this.#wake();
  }

  /** Forget the interval of a key. */
  cancel(key: K): void {
    this.#intervals.cancel(key);
  }

  /** Forget the interval and the expiry of a key. */
  forget(key: K): void {
    this.#intervals.cancel(key);
    this.#expiries.cancel(key);
  }

  /** How many deadlines are set. */
  get size(): number {
    return this.#intervals.size + this.#expiries.size;
  }

  /** Call back for all that is due. */
  check(): void {
    for (const key of this.#intervals.popDue(monotonic())) this.waited(key);
    for (const key of this.#expiries.popDue(this.now())) this.expired(key);
  }

  /** Stop; nothing calls back any more. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #wake(): void {
    const interval = this.#intervals.next();
    const expiry = this.#expiries.next();
    if (interval === null && expiry === null) return;
    const wait = Math.min((interval ?? Infinity) - monotonic(), (expiry ?? Infinity) - this.now()) * 1000;
    const delay = Math.min(Math.max(wait, 0), LONGEST_SLEEP);
    const at = performance.now() + delay;
    if (this.#timer !== null) {
      if (this.#wakesAt <= at + 1) return;
      clearTimeout(this.#timer);
    }
    this.#wakesAt = at;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.check();
      this.#wake();
    }, Math.ceil(delay));
    this.#timer.unref();
  }
}

/** Seconds on a monotonic clock. */
export function monotonic(): number {
  return performance.now() / 1000;
}
