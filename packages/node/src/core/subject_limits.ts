/** Limits for each subject, independent of the number of its devices. */

import { ConfigError, LimitExceeded } from "../errors.js";
import { type Identity, isGuest } from "./identity.js";
import { checkNames } from "./options.js";
import { TokenBucket } from "./rate.js";

/** Limits for each subject; what is omitted is not limited. */
export interface SubjectLimits {
  /** Connections at the same time. */
  sockets?: number;
  /** At the limit of connections, refuse a new one, or close the oldest. Default: `"refuse"`. */
  whenFull?: "refuse" | "end_oldest";
  /** Room joins per second. */
  joins?: number;
  /** Events per second. */
  events?: number;
}

/** @throws {ConfigError} a limit below 1, or an invalid `whenFull`. */
export function checkSubjectLimits(limits: SubjectLimits): SubjectLimits {
  checkNames(limits, { sockets: true, whenFull: true, joins: true, events: true });
  for (const name of ["sockets", "joins", "events"] as const) {
    const limit: unknown = limits[name];
    if (limit !== undefined && !(typeof limit === "number" && limit >= 1 && limit < Infinity)) {
      throw new ConfigError(`${name} must be a number of at least 1; omit it for no limit`);
    }
  }
  if (!["refuse", "end_oldest", undefined].includes(limits.whenFull)) {
    throw new ConfigError("whenFull must be 'refuse' or 'end_oldest'");
  }
  return { ...limits };
}

/** Counts the connections (`C`), joins and events of each subject. */
export class SubjectUsage<C> {
  // The connections of each subject, the oldest first, with the number of its namespaces on each.
  readonly #connections = new Map<string, Map<C, number>>();
  // Kept after a disconnection, so that a new connection does not reset the rate. Ordered by last use.
  readonly #buckets = { joins: new Map<string, TokenBucket>(), events: new Map<string, TokenBucket>() };

  constructor(readonly limits: SubjectLimits) {}

  /**
   * Count a subject's connection to a namespace.
   *
   * @returns the connection to close for it, or null.
   * @throws {LimitExceeded} the subject has too many connections; nothing was counted.
   */
  connect(who: Identity, connection: C): C | null {
    const key = keyOf(who);
    const connections = this.#connections.get(key) ?? new Map<C, number>();
    const { sockets = Infinity, whenFull = "refuse" } = this.limits;
    const isFull = connections.size >= sockets && !connections.has(connection);
    if (isFull && whenFull === "refuse") throw new LimitExceeded("sockets", `${connections.size} connections already`);
    const [oldest] = isFull ? connections.keys() : [];
    connections.set(connection, (connections.get(connection) ?? 0) + 1);
    this.#connections.set(key, connections);
    return oldest ?? null;
  }

  /** The connections of a subject, the oldest first. */
  connections(who: Identity): readonly C[] {
    return [...(this.#connections.get(keyOf(who))?.keys() ?? [])];
  }

  /** Remove a namespace connection that {@link connect} counted. */
  leave(who: Identity, connection: C): void {
    const key = keyOf(who);
    const connections = this.#connections.get(key);
    const count = connections?.get(connection);
    if (connections === undefined || count === undefined) return;
    if (count > 1) connections.set(connection, count - 1);
    else connections.delete(connection);
    if (connections.size === 0) this.#connections.delete(key);
  }

  /**
   * Count a join or an event.
   *
   * @param now seconds on a monotonic clock.
   * @throws {LimitExceeded} the subject is over its rate.
   */
  take(who: Identity, what: "joins" | "events", now: number): void {
    const rate = this.limits[what];
    if (rate === undefined || isGuest(who)) return;
    const buckets = this.#buckets[what];
    const key = keyOf(who);
    const bucket = buckets.get(key) ?? new TokenBucket(rate, now);
    buckets.delete(key); // the last one used is the last
    buckets.set(key, bucket);
    const isAllowed = bucket.takeIfAny(now);
    for (const [oldest, known] of buckets) {
      if (!known.isFull(now)) break;
      buckets.delete(oldest);
    }
    if (!isAllowed) throw new LimitExceeded(what, `more than ${rate} ${what} per second`);
  }
}

function keyOf(who: Identity): string {
  return JSON.stringify([who.issuer, who.subject]);
}
