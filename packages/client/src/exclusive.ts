/** How long a tab waits for another one, in milliseconds. Less than the login server's grace for a reused token. */
export const PATIENCE = 5000;

/**
 * Run one task at a time in all tabs of an origin, with Web Locks where the browser has them (only on HTTPS).
 *
 * A frozen tab keeps its lock, so the lock is stolen after {@link PATIENCE}. The task learns whether it is certainly
 * alone: false without Web Locks, and after the lock was stolen. The tab that lost its lock finishes its task, too.
 */
export async function exclusive<T>(name: string, task: (alone: boolean) => Promise<T>): Promise<T> {
  let running: Promise<T> | undefined;
  const start = (alone: boolean) => (running ??= task(alone));
  const locks = typeof navigator === "undefined" ? undefined : navigator.locks;
  try {
    await locks?.request(name, { signal: AbortSignal.timeout(PATIENCE) }, () => start(true));
  } catch {
    // not granted in time, or stolen from this tab
    if (!running) await locks?.request(name, { steal: true }, () => start(false)).catch(() => undefined);
  }
  return start(false);
}
