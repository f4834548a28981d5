/** The deadlines of connected sockets: warning and expiry. */

import type { Identity } from "../core/identity.js";
import type { Clock } from "./clock.js";
import type { Timed, Timers } from "./timers.js";

/** The share of the warning time over which warnings are spread: thousands of sockets do not refresh in one second. */
const JITTER = 0.5;

export class ExpiryWatch {
  /**
   * @param grace seconds after `exp` in which a socket stays.
   * @param warnBefore seconds before `exp` at which the client is warned, at the earliest.
   */
  constructor(
    private readonly timers: Timers,
    private readonly clock: Clock,
    private readonly grace: number,
    private readonly warnBefore: number,
  ) {}

  /** A socket has a token, or a new one: its deadlines move. */
  watch(who: Identity, socket: Timed): void {
    const { expiresAt } = who;
    if (expiresAt === null) {
      this.timers.forget(socket);
      return;
    }
    // Never before half of the time that is left, or a client with short tokens would renew without end.
    const lead = Math.min(this.warnBefore, (expiresAt - this.clock()) / 2);
    const spread = 1 - JITTER * Math.random();
    this.timers.at(socket, lead > 0 ? expiresAt - lead * spread : expiresAt + this.grace);
  }

  /**
   * A deadline has passed.
   *
   * @returns the seconds that are left, to warn the client of; 0 or less if there is nothing to do before the end of the
   *   grace period; null if the socket ends now.
   */
  passed(who: Identity, socket: Timed): number | null {
    if (who.expiresAt === null) return 0;
    const now = this.clock();
    const end = who.expiresAt + this.grace;
    if (now >= end) return null;
    this.timers.at(socket, end);
    return Math.floor(who.expiresAt - now);
  }
}
