/** Reading a journal again and again, wherever it is. */

import { setTimeout as sleep } from "node:timers/promises";

import type { JournalTarget } from "./journal_target.js";

/**
 * Read until it is stopped. Of failures in a row, the first one is reported.
 *
 * @param read reads what is new; `hasFailed` is true after a failure.
 * @param delay milliseconds after a failure, by the number of failures before it; a random part is taken off.
 */
export async function follow(
  stopped: AbortSignal,
  target: JournalTarget,
  read: (hasFailed: boolean) => Promise<void>,
  delay: (failures: number) => number,
): Promise<void> {
  let failures = 0;
  while (!stopped.aborted) {
    try {
      await read(failures > 0);
      failures = 0;
    } catch (error) {
      if (stopped.aborted) return;
      if (failures === 0) target.failed("the journal of revocations is unavailable", error);
      await pause(delay(failures) * (1 - 0.5 * Math.random()), stopped);
      failures += 1;
    }
  }
}

/** Wait, until it is stopped at the latest. */
export async function pause(milliseconds: number, stopped: AbortSignal): Promise<void> {
  if (milliseconds <= 0) return;
  await sleep(milliseconds, undefined, { ref: false, signal: stopped }).catch(() => undefined);
}
