/**
 * Verification that waits for what is being fetched.
 *
 * A verifier never waits. If a token needs something from another server, `Unavailable` has what to wait for. After that,
 * the token is verified again.
 */

import { type Lookup, Unavailable } from "../errors.js";

/** A fetch under way. */
export class FetchLookup implements Lookup {
  /**
   * @param done ends with the fetch, and never rejects.
   * @param timeout the longest time to wait, in seconds.
   */
  constructor(
    private readonly done: Promise<void>,
    readonly timeout: number,
  ) {}

  /** Wait. The timer keeps the process alive, as the connection of the fetch does not. */
  async wait(seconds: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, seconds * 1000)));
    await Promise.race([this.done, late]);
    clearTimeout(timer);
    await turn();
  }
}

/** So many continue at once; then the event loop has its turn. */
const AT_ONCE = 16;
const woken: (() => void)[] = [];

/** Wait for one's turn, so that all sockets that waited for one answer do not block the event loop together. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    if (woken.push(resolve) === 1) setImmediate(wake);
  });
}

function wake(): void {
  for (const resolve of woken.splice(0, AT_ONCE)) resolve();
  if (woken.length > 0) setImmediate(wake);
}

/**
 * Verify a token, and wait for the keys of another server if that is necessary: at most `fetchTimeout`.
 *
 *     const who = await verifyWaiting(() => verifier.verify(token));
 *
 * @param verify verifies the token. It is called again after each wait.
 * @throws {AuthError} the token is not valid.
 * @throws {Unavailable} the answer did not arrive in time.
 */
export async function verifyWaiting<T>(verify: () => T | PromiseLike<T>): Promise<T> {
  let until: number | null = null;
  for (;;) {
    let lookup: Lookup;
    try {
      return await verify();
    } catch (error) {
      if (!(error instanceof Unavailable) || error.lookup === null) throw error;
      lookup = error.lookup;
      until ??= now() + lookup.timeout;
      if (now() >= until) throw error;
    }
    await lookup.wait(until - now());
  }
}

function now(): number {
  return performance.now() / 1000;
}
