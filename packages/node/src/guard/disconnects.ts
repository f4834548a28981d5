/** Disconnects of all sockets of a subject, on every server that reads the journal. */

import { setLatest } from "../core/latest.js";
import type { Clock } from "./clock.js";
import { monotonic } from "./clock.js";
import type { SubjectDisconnect } from "./journal_target.js";
import type { GuardedSocket } from "./socket.js";

/** Seconds that the clocks of two servers may be apart. */
const SKEW = 10;
/** Subjects; beyond that, the oldest disconnect is forgotten. */
const MAX_KEPT = 100_000;

/** The latest disconnect of each subject. It ends the sockets that were connected then, and only once. */
export class Disconnects {
  readonly #known = new Map<string, number>();

  constructor(
    private readonly clock: Clock,
    private readonly named: (subject: string) => readonly GuardedSocket[],
  ) {}

  /** Disconnect the subject's sockets, unless this or a later entry did that; returns their number. */
  apply({ name, at, expiresAt }: SubjectDisconnect): number {
    const now = this.clock();
    if (at <= (this.#known.get(name) ?? 0) || expiresAt <= now) return 0;
    setLatest(this.#known, name, at, MAX_KEPT);
    // The time of day at which a connection opened, from the clock that does not jump.
    const latest = at + SKEW - now + monotonic();
    const meant = this.named(name).filter((socket) => socket.admitted && socket.connection.openedAt <= latest);
    for (const socket of meant) socket.disconnect();
    return meant.length;
  }
}
