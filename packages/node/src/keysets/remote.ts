/**
 * The keys of another server, which fetches them when tokens need them. {@link RemoteState} decides when.
 */

import type { Agent } from "node:http";

import { ASYMMETRIC, HMAC_BYTES, checkAlgorithms } from "../core/algorithms.js";
import { type Log, logToConsole, unfailing } from "../core/calls.js";
import type { KeySet, RefusedKey, RemoteKeys } from "../core/key_set.js";
import { checkNames } from "../core/options.js";
import { printable } from "../core/printable.js";
import { checkIssuer, checkUrl } from "../core/urls.js";
import { OTHER_USE } from "../core/weak_keys.js";
import { ConfigError, Unavailable } from "../errors.js";
import { FETCH_SECONDS, FetchError, checkTimeout, fetchBody } from "./fetching.js";
import { AnswerError, type Discovered, MAX_BYTES, parseDiscovery, parseKeySet } from "./remote_answers.js";
import { DUE, FRESH, KEPT, RemoteState } from "./remote_state.js";
import { FetchLookup } from "./waiting.js";

/** Seconds for which a discovery document is used, if no fetch fails. */
const DISCOVERY_KEPT = 3600;

export interface RemoteOptions {
  /** The accepted algorithms; keys for others are left out. Default: all asymmetric ones. */
  algorithms?: readonly string[] | undefined;
  /** The longest time that a token waits for a fetch, in milliseconds. Default: 2000. */
  fetchTimeout?: number | undefined;
  /** Replaces the connections, for proxies and certificates: an agent of `node:https`. */
  agent?: Agent | undefined;
  /** Receives what an operator must know, such as an outage of the other server. Default: `console.error`. */
  log?: Log | undefined;
  /** Seconds of a clock that never goes back, for tests. */
  clock?: (() => number) | undefined;
}

const OPTIONS: Readonly<Record<keyof RemoteOptions | "discover", true>> = {
  discover: true,
  algorithms: true,
  fetchTimeout: true,
  agent: true,
  log: true,
  clock: true,
};

/** What is known about the keys of another server. */
export interface RemoteStatus {
  /** Where the keys come from. */
  url: string;
  /**
   * `empty` before the first good answer; `fresh` up to 10 minutes after it; then `stale`, while the keys are still used;
   * `gone` if the last good answer is older than 24 hours.
   */
  state: "empty" | "fresh" | "stale" | "gone";
  /** Seconds since the last good answer, or null. */
  age: number | null;
  /** The names of the keys. */
  kids: readonly string[];
  /** The keys that are left out, and the reasons. */
  refused: readonly RefusedKey[];
  /** The number of failed fetches since the last good answer. */
  failures: number;
  /** Why the last fetch failed; null if it did not. */
  lastError: string | null;
  /** The number of unknown kids that are remembered. */
  unknown: number;
  /** The number of fetches since the start. */
  fetches: number;
}

/**
 * Provides the keys of another server to a verifier, and fetches them again while it runs.
 *
 * Looking up a known key never waits. The keys are fetched again in the background every 5 minutes, and at once for a token
 * with an unknown `kid`, at most every 30 seconds. While the other server is unavailable, the known keys stay in use for 24
 * hours after its last good answer. Nothing of it keeps a process alive.
 */
export class RemoteKeySet implements RemoteKeys {
  readonly url: string;
  readonly algorithms: readonly string[];
  /** The longest time that a token waits for a fetch, in seconds. */
  readonly #timeout: number;
  readonly #discovers: boolean;
  readonly #restricts: boolean;
  readonly #agent: Agent | undefined;
  readonly #log: Log;
  readonly #clock: () => number;
  readonly #state = new RemoteState();
  #done: Promise<void> | null = null;
  #discovered: { found: Discovered; at: number } | null = null;
  #lastError: string | null = null;
  /** The keys, and the time from which a lookup has more to do than to return them. */
  #known: KeySet | null = null;
  #until = 0;

  /**
   * @param url the URL of the JWK Set: `https`, or `http` on this machine. With `discover`, the issuer.
   * @param options with `discover`, the URL of the keys is found in the issuer's OpenID discovery document.
   * @throws {ConfigError} an invalid URL, an invalid time, symmetric algorithms, or an unknown option.
   */
  constructor(url: string, { discover = false, ...options }: RemoteOptions & { discover?: boolean } = {}) {
    checkNames(options, OPTIONS);
    this.url = discover ? checkIssuer(url) : checkUrl(url, "the URL of the keys");
    this.#discovers = discover;
    this.#restricts = options.algorithms === undefined;
    this.algorithms = options.algorithms === undefined ? ASYMMETRIC : checkAlgorithms(options.algorithms);
    if (this.algorithms.some((name) => HMAC_BYTES.has(name))) {
      throw new ConfigError("cannot use HS* algorithms with the keys of another server: they need a shared secret");
    }
    this.#timeout = checkTimeout(options.fetchTimeout);
    this.#agent = options.agent;
    this.#log = unfailing(options.log ?? logToConsole);
    this.#clock = options.clock ?? (() => performance.now() / 1000);
  }

  /**
   * Return the known keys, without waiting.
   *
   * @throws {Unavailable} there are none, or the last good answer is too old.
   */
  current(): KeySet {
    const at = this.#clock();
    if (this.#known !== null && at < this.#until) return this.#known;
    if (this.#state.isDue(at)) this.#start(at);
    const keys = this.#state.usable(at);
    if (keys === null) throw this.#unavailable(at);
    return keys;
  }

  /**
   * Decide about a token whose key is not known: return if the other server has no such key.
   *
   * @param kid of the token; null if it has none.
   * @throws {Unavailable} it may have one. The error has what to wait for, if the keys are being fetched.
   */
  lookUp(kid: string | null): void {
    const at = this.#clock();
    const next = this.#state.lookUp(kid ?? "", at);
    if (next === "reject") return;
    if (next === "fetch") this.#start(at);
    throw this.#unavailable(at);
  }

  /**
   * Fetch the keys if that is due, so that the first token does not wait.
   *
   * @returns when the fetch has ended, well or not; at once if none is necessary or possible now.
   */
  async prefetch(): Promise<void> {
    const at = this.#clock();
    if (this.#state.isDue(at)) this.#start(at);
    await this.#lookup(at)?.wait(2 * FETCH_SECONDS); // the discovery document, and the keys
  }

  /** Return what is known about the keys. */
  status(): RemoteStatus {
    const at = this.#clock();
    const { keys, goodAt, failures, unknown, number } = this.#state;
    const usable = this.#state.usable(at);
    const age = keys === null ? null : at - goodAt;
    return {
      url: this.url,
      state: freshness(age),
      age,
      kids: [...new Set(usable?.keys.map((key) => key.kid))],
      refused: usable?.refused ?? [],
      failures,
      lastError: this.#lastError,
      unknown: unknown.size,
      fetches: number,
    };
  }

  #unavailable(at: number): Unavailable {
    const lookup = this.#lookup(at);
    const why = lookup ? "are being fetched" : `are unknown: ${this.#lastError ?? "an unknown kid, asked too often"}`;
    return new Unavailable(`the keys of ${this.url} ${why}`, lookup);
  }

  #lookup(at: number): FetchLookup | null {
    return this.#done !== null && this.#state.isFetching(at) ? new FetchLookup(this.#done, this.#timeout) : null;
  }

  // The fetch

  #start(at: number): void {
    this.#done = this.#run(this.#state.start(at)).catch(() => undefined);
  }

  async #run(number: number): Promise<void> {
    try {
      const answer = await this.#download();
      if (number === this.#state.number) this.#succeeded(answer);
    } catch (error) {
      const isExpected = error instanceof FetchError || error instanceof AnswerError;
      if (number === this.#state.number) this.#failed(isExpected ? error.message : "an unexpected failure", isExpected ? undefined : error);
    }
  }

  async #download(): Promise<KeySet> {
    if (!this.#discovers) return parseKeySet(await this.#body(this.url), this.algorithms);
    const { jwksUri, algorithms } = await this.#discover();
    return parseKeySet(await this.#body(jwksUri), this.algorithms, this.#restricts ? algorithms : null);
  }

  async #discover(): Promise<Discovered> {
    const at = this.#clock();
    const known = this.#discovered;
    if (known !== null && this.#lastError === null && at < known.at + DISCOVERY_KEPT) return known.found;
    const body = await this.#body(`${this.url.replace(/\/+$/, "")}/.well-known/openid-configuration`);
    const found = parseDiscovery(body, this.url);
    this.#discovered = { found, at };
    return found;
  }

  #body(url: string): Promise<Buffer> {
    return fetchBody({ url, maxBytes: MAX_BYTES, agent: this.#agent });
  }

  #failed(problem: string, error?: unknown): void {
    const at = this.#clock();
    this.#state.fail(at);
    const isNew = problem !== this.#lastError;
    this.#lastError = problem;
    if (!isNew) return;
    const left = this.#state.goodAt + KEPT - at;
    const kept = left > 0 ? `the known keys stay in use for ${(left / 3600).toFixed(1)} h` : "no token can be verified";
    this.#log(`cannot fetch the keys of ${this.url}: ${problem}; ${kept}`, error);
  }

  #succeeded(answer: KeySet): void {
    const at = this.#clock();
    const { keys: before, changed: alarmed } = this.#state;
    const { keys, exchanged } = this.#state.succeed(answer, at);
    this.#known = keys;
    this.#until = at + DUE;
    const wasDown = this.#lastError !== null;
    this.#lastError = null;
    if (wasDown) this.#log(`the keys of ${this.url} can be fetched again`);
    this.#report(before, keys, exchanged.filter((kid) => !alarmed.has(kid)));
  }

  /** Log what has changed. Many sets have keys for encryption. */
  #report(before: KeySet | null, keys: KeySet, exchanged: readonly string[]): void {
    for (const { kid, why } of keys.refused) {
      const isKnown = before?.refused.some((other) => other.kid === kid && other.why === why);
      if (!isKnown && why !== OTHER_USE) this.#log(`left out key ${printable(kid)} of ${this.url}: ${why}`);
    }
    for (const kid of exchanged) {
      const name = `${this.url} has another key under the kid ${printable(kid)}`;
      this.#log(`${name}; it is ignored, and the known key stays. If this was intended, restart this server`);
    }
  }
}

function freshness(age: number | null): RemoteStatus["state"] {
  if (age === null) return "empty";
  return age < FRESH ? "fresh" : age < KEPT ? "stale" : "gone";
}
