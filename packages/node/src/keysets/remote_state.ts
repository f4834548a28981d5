/**
 * When the keys of another server are used, fetched again and given up: a state machine without I/O and clock. It is that
 * of `roomkey.keysets.remote_state` in Python; both run the vectors of `vectors/remote_keys.json`.
 *
 *     good answer ──5 min──> due ──5 min──> stale ──24 h after the answer──> gone
 *         keys in use        keys in use    keys in use                      no keys: Unavailable
 *         no fetch           a lookup starts a fetch in the background, and nobody waits for it
 *
 * - A token with a known key never waits.
 * - Without keys, a token waits for the fetch.
 * - A token with an unknown `kid` starts a fetch and waits for it, but only if the last fetch that an unknown `kid` started
 *   is at least {@link COOLDOWN} seconds ago. Otherwise nobody knows whether the key exists: the token is neither accepted
 *   nor rejected for good.
 * - A `kid` does not exist if an answer that was requested after the `kid` was seen does not have it. For {@link COOLDOWN}
 *   seconds after this answer, or until the keys change, its tokens are rejected without waiting. Then it is unknown again:
 *   the other server may have begun to use it.
 * - After a failed fetch, no fetch starts for 1, 2, 4, … and at most {@link LAST_RETRY} seconds. The keys stay.
 * - An answer replaces all keys, except that a key cannot be exchanged for another one under the same `kid`: the known key
 *   stays until the other one has been published for {@link KEPT} seconds.
 *
 * All times are seconds of one clock that never goes back.
 */

import { KeySet } from "../core/key_set.js";
import type { Key } from "../core/keys.js";

/** Age of the last good answer at which a lookup starts the next fetch. */
export const DUE = 300;
/** Age at which the keys are reported as stale. */
export const FRESH = 600;
/** Age at which the keys are no longer used. */
export const KEPT = 86_400;
/** Seconds between two fetches that unknown kids start, and for which an unknown kid is rejected after an answer. */
export const COOLDOWN = 30;
/** The longest time without a fetch after failures. */
export const LAST_RETRY = 30;
/** Seconds after which a fetch has failed that never ended. */
export const LOST = 30;
/** The number of unknown kids that are remembered. */
export const MAX_KIDS = 1000;

/**
 * What to do about a token whose key is not known: `reject` it, as the key does not exist; `wait` for the fetch that is
 * under way; start a `fetch` and wait for it; or try `later`, as nobody knows and no fetch may start now.
 */
export type Next = "reject" | "wait" | "fetch" | "later";

/** Return the seconds without a fetch after a number of failures in a row. */
export function retryDelay(failures: number): number {
  return failures > 0 ? Math.min(LAST_RETRY, 2 ** Math.min(failures - 1, 10)) : 0;
}

/** The keys of one other server, and what is known about them. */
export class RemoteState {
  /** The last good answer, or null. */
  keys: KeySet | null = null;
  /** The time of the last good answer. */
  goodAt = -Infinity;
  /** The number of failed fetches since the last good answer. */
  failures = 0;
  /** The number of fetches that have started. */
  number = 0;
  /** Kids that do not exist, and until when they are rejected for it, the oldest first. */
  readonly unknown = new Map<string, number>();
  /** Kids about which the next answer decides. */
  wanted = new Set<string>();
  /** Kids whose key has been exchanged, and since when. */
  changed: ReadonlyMap<string, number> = new Map();
  /** Kids about which the answer under way decides. */
  #asked = new Set<string>();
  /** No fetch may start before this time. */
  #retryAt = -Infinity;
  /** The time at which the fetch under way started; null if there is none. */
  #startedAt: number | null = null;
  /** No unknown kid may start a fetch before this time. */
  #coolUntil = -Infinity;

  /** Return the keys, or null if there are none or the last good answer is too old. */
  usable(now: number): KeySet | null {
    return now < this.goodAt + KEPT ? this.keys : null;
  }

  /** Return true if a lookup should start a fetch. */
  isDue(now: number): boolean {
    return now >= this.goodAt + DUE && now >= this.#retryAt && !this.isFetching(now);
  }

  /** Return true if a fetch is under way, and not lost. */
  isFetching(now: number): boolean {
    return this.#startedAt !== null && now < this.#startedAt + LOST;
  }

  /**
   * Decide about a token whose `kid` the keys do not have; `""` is a token without one.
   *
   * The caller starts the fetch for `fetch`.
   */
  lookUp(kid: string, now: number): Next {
    if (now < (this.unknown.get(kid) ?? -Infinity)) return "reject";
    this.unknown.delete(kid);
    remember(this.wanted, kid);
    if (this.isFetching(now)) return "wait";
    if (now < this.#retryAt || now < this.#coolUntil) return "later";
    this.#coolUntil = now + COOLDOWN;
    return "fetch";
  }

  /** Note that a fetch starts, and return its number. */
  start(now: number): number {
    this.#startedAt = now;
    this.#asked = this.wanted;
    this.wanted = new Set();
    this.number += 1;
    return this.number;
  }

  /**
   * Note a good answer.
   *
   * @returns the keys that are used from now on, and the kids whose keys were exchanged and are ignored.
   */
  succeed(answer: KeySet, now: number): { keys: KeySet; exchanged: readonly string[] } {
    const keys = this.#bound(answer, now);
    const askedAt = this.#startedAt ?? now;
    for (const [kid, until] of this.unknown) {
      if (askedAt < until) this.unknown.set(kid, now + COOLDOWN); // the answer lacks it too, or the keys have changed
      else this.unknown.delete(kid);
    }
    if (this.keys === null || !isSame(this.keys, keys)) {
      this.unknown.clear();
      this.#asked.delete(""); // a token without kid may have one of the new keys
    }
    for (const kid of this.#asked) if (!kid || keys.named(kid).length === 0) this.#reject(kid, now + COOLDOWN);
    this.keys = keys;
    this.goodAt = now;
    this.failures = 0;
    this.#retryAt = -Infinity;
    this.#startedAt = null;
    this.#asked = new Set();
    return { keys, exchanged: [...this.changed.keys()] };
  }

  /** Note a failed fetch. */
  fail(now: number): void {
    this.failures += 1;
    this.#retryAt = now + retryDelay(this.failures);
    this.#startedAt = null;
    for (const kid of this.#asked) remember(this.wanted, kid);
    this.#asked = new Set();
  }

  #reject(kid: string, until: number): void {
    this.unknown.delete(kid);
    this.unknown.set(kid, until);
    forgetOldest(this.unknown);
  }

  /** Return the answer with the known key of each kid whose key was exchanged. */
  #bound(answer: KeySet, now: number): KeySet {
    const keys: Key[] = [];
    const changed = new Map<string, number>();
    for (const kid of new Set(answer.keys.map((key) => key.kid))) {
      const published = answer.named(kid);
      const before = this.keys?.named(kid) ?? [];
      const isExchanged = before.length > 0 && !before.some((old) => published.some((key) => key.thumbprint === old.thumbprint));
      const since = this.changed.get(kid) ?? now;
      const isIgnored = isExchanged && now < since + KEPT;
      if (isIgnored) changed.set(kid, since);
      keys.push(...(isIgnored ? before : published));
    }
    this.changed = changed;
    return new KeySet(keys, answer.refused);
  }
}

function remember(kids: Set<string>, kid: string): void {
  kids.delete(kid);
  kids.add(kid);
  forgetOldest(kids);
}

function forgetOldest(kids: Set<string> | Map<string, number>): void {
  if (kids.size > MAX_KIDS) kids.delete(kids.keys().next().value as string);
}

function isSame(one: KeySet, other: KeySet): boolean {
  const names = new Set(one.keys.map(nameOf));
  return names.size === other.keys.length && other.keys.every((key) => names.has(nameOf(key)));
}

function nameOf(key: Key): string {
  return JSON.stringify([key.kid, key.thumbprint, key.algorithms]);
}
