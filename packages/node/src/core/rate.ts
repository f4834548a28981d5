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

  /** Take a token; returns false if there was none. */
  take(now: number): boolean {
    this.#tokens = Math.min(this.rate, this.#tokens + (now - this.#at) * this.rate) - 1;
    this.#at = now;
    return this.#tokens >= 0;
  }
}
