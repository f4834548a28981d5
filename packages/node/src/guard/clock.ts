/** The two clocks of a guard: the wall clock for tokens, and a monotonic one for intervals. */

import { type Log, attempt, ignore } from "../core/calls.js";

/** Seconds since the epoch. */
export type Clock = () => number;

/** Seconds on a monotonic clock. */
export function monotonic(): number {
  return performance.now() / 1000;
}

/** An application's clock that does not fail: while it throws or reads no number, the time goes on from what it read last. */
export function reliable(clock: Clock, log: Log): Clock {
  let ahead = Date.now() / 1000 - monotonic();
  let works = true;
  return () => {
    let now: unknown;
    attempt(() => (now = clock()), ignore);
    const worked = works;
    works = typeof now === "number" && Number.isFinite(now);
    if (works) ahead = (now as number) - monotonic();
    else if (worked) log("the clock failed, so the time goes on from what it read last");
    return monotonic() + ahead;
  };
}
