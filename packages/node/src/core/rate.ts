/** How often something may happen: tokens come back steadily, and each event takes one. */
export class TokenBucket {
  #tokens: number;
  #at: number;

  /**
   * @param rate tokens per second, and the most that are saved up.
   * @param now seconds on a monotonic clock.
   */
  constructor(
    readonly rate: number,
    now: number,
  ) {
    this.#tokens = rate;
    this.#at = now;
  }

  /** True if it is full, as a new one is. */
  isFull(now: number): boolean {
    return this.#tokens + (now - this.#at) * this.rate >= this.rate;
  }

  /** Take a token; returns false if there was none. */
  take(now: number): boolean {
    this.#tokens = Math.min(this.rate, this.#tokens + (now - this.#at) * this.rate) - 1;
    this.#at = now;
    return this.#tokens >= 0;
  }

  /** Take a token if there is one; returns false, and takes nothing, otherwise. */
  takeIfAny(now: number): boolean {
    if (this.take(now)) return true;
    this.#tokens += 1;
    return false;
  }
}
