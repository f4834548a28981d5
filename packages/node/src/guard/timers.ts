/** One timer for all deadlines of a guard. */

import { Deadlines } from "../core/deadlines.js";
import { type Clock, monotonic } from "./clock.js";

/** Milliseconds: a wall clock may be set, and a laptop may sleep; this much later the deadlines know. */
const LONGEST_SLEEP = 1000;

/** What can have an interval and an expiry. */
export interface Timed {
  /** Its interval has passed. */
  waited(): void;
  /** Its expiry has passed. */
  expired(): void;
}

/** Intervals on the monotonic clock, expiries on the wall clock, one timer for both. It does not keep a process alive. */
export class Timers {
  readonly #intervals = new Deadlines<Timed>();
  readonly #expiries = new Deadlines<Timed>();
  #timer: NodeJS.Timeout | null = null;
  #wakesAt = Infinity;

  constructor(private readonly clock: Clock) {}

  /** Call back after an interval in seconds, unless it is cancelled. */
  after(key: Timed, seconds: number): void {
    const at = monotonic() + seconds;
    this.#intervals.set(key, at);
    this.#wakeIn(seconds);
  }

  /** Call back at a time in seconds since the epoch, unless it is cancelled or moved. */
  at(key: Timed, when: number): void {
    this.#expiries.set(key, when);
    this.#wakeIn(when - this.clock());
  }

  /** Forget the interval. */
  cancel(key: Timed): void {
    this.#intervals.cancel(key);
  }

  /** Forget the interval and the expiry. */
  forget(key: Timed): void {
    this.#intervals.cancel(key);
    this.#expiries.cancel(key);
  }

  /** How many deadlines are set. */
  get size(): number {
    return this.#intervals.size + this.#expiries.size;
  }

  /** Call back for all that is due. */
  check(): void {
    for (const key of this.#intervals.popDue(monotonic())) key.waited();
    for (const key of this.#expiries.popDue(this.clock())) key.expired();
  }

  /** Stop; nothing calls back any more. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Make sure that the timer fires in so many seconds, or earlier. */
  #wakeIn(seconds: number): void {
    const delay = Math.min(Math.max(seconds * 1000, 0), LONGEST_SLEEP);
    const at = performance.now() + delay;
    if (this.#timer !== null) {
      if (this.#wakesAt <= at + 1) return;
      clearTimeout(this.#timer);
    }
    this.#wakesAt = at;
    this.#timer = setTimeout(() => this.#fired(), Math.ceil(delay));
    this.#timer.unref();
  }

  #fired(): void {
    this.#timer = null;
    this.check();
    const [interval, expiry] = [this.#intervals.next(), this.#expiries.next()];
    if (interval === null && expiry === null) return;
    this.#wakeIn(Math.min((interval ?? Infinity) - monotonic(), (expiry ?? Infinity) - this.clock()));
  }
}
