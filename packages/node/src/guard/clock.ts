/** The two clocks of a guard: the wall clock for tokens, and a monotonic one for intervals. */

/** Seconds since the epoch. */
export type Clock = () => number;

/** Seconds on a monotonic clock. */
export function monotonic(): number {
  return performance.now() / 1000;
}
