/**
 * Verification of tokens by asking the server that issued them (RFC 7662), such as tokens that mean nothing to others.
 *
 * Answers are kept for a short time, by the token's hash: a positive one for {@link POSITIVE} seconds and never past the
 * token's `exp`, a negative one for {@link NEGATIVE} seconds. Nobody asks about one token twice at the same time. The number
 * of questions at the same time is bounded, since every stranger can present a token that nobody knows.
 *
 * A stranger can also present a token with which the endpoint cannot deal. So an answer that says nothing about a token
 * counts against this token only: it is unavailable for {@link UNANSWERED} seconds. After a failure of the endpoint itself,
 * there are no questions about any token for 1, 2, 4, … and at most 30 seconds.
 */

import { createHash, generateKeyPairSync } from "node:crypto";
import type { Agent } from "node:http";

import type { TokenVerifier } from "../core/any_of.js";
import { type Log, logToConsole, unfailing } from "../core/calls.js";
import type { Claims } from "../core/claims.js";
import type { Identity } from "../core/identity.js";
import { Key } from "../core/keys.js";
import { checkUrl } from "../core/urls.js";
import { Verifier, type VerifierOptions } from "../core/verifier.js";
import { ConfigError, ExpiredToken, MalformedToken, Unavailable } from "../errors.js";
import { FetchError, basicAuthorization, checkTimeout, fetchBody } from "./fetching.js";
import { AnswerError, parseObject } from "./remote_answers.js";
import { retryDelay } from "./remote_state.js";
import { FetchLookup } from "./waiting.js";

/** The longest time for which a positive answer is used, in seconds. */
export const POSITIVE = 60;
/** The time for which a negative answer is used, in seconds. */
export const NEGATIVE = 10;
/** The time for which nobody asks again about a token that the endpoint could not answer about, in seconds. */
export const UNANSWERED = 5;
/** The number of answers that are kept. */
export const MAX_ANSWERS = 10_000;
/** The number of tokens about which an answer is awaited. */
export const MAX_ASKED = 256;
/** The number of requests at the same time. */
export const MAX_REQUESTS = 8;
/** The longest accepted answer, in bytes. */
const MAX_BYTES = 65_536;
/** The time between two messages about single tokens, in seconds. */
const NOTE_SECONDS = 60;
const WRONG_QUESTION = [400, 413, 414, 422]; // such as one about another kind of token
const NO_ANSWER = [200, 500]; // 200: with a body that is too long
const FORM = /^[A-Za-z0-9._~+/-]+=*$/; // RFC 6750 section 2.1
const NOT_USED = ["algorithms", "tokenType", "tolerateHeader"] as const;

/** The claims of an active token; why the endpoint could not answer about a token; or null for any other token. */
type Answer = Claims | string | null;

export interface IntrospectionOptions extends VerifierOptions {
  /** The name of this server at the endpoint. */
  clientId: string;
  clientSecret: string;
  /** The longest time that a token waits for an answer, in milliseconds. Default: 2000. */
  fetchTimeout?: number | undefined;
  /** Replaces the connections, for proxies and certificates: an agent of `node:https`. */
  agent?: Agent | undefined;
  /** Receives what an operator must know, such as an outage of the endpoint. Default: `console.error`. */
  log?: Log | undefined;
  /** Seconds of a clock that never goes back, for tests. */
  clock?: (() => number) | undefined;
}

/** What is known about an introspection endpoint. */
export interface IntrospectionStatus {
  url: string;
  /** The number of answers that are kept. */
  kept: number;
  /** The number of requests since the start. */
  asked: number;
  /** The number of requests since the last answer that failed because of the endpoint, not of one token. */
  failures: number;
  /** Why the last request failed; null if it did not. */
  lastError: string | null;
  /** Seconds since the last answer, or null. */
  age: number | null;
}

/** The answers that are kept, with the time as an argument. */
export class Answers {
  readonly #kept = new Map<string, { answer: Answer; until: number }>();

  get size(): number {
    return this.#kept.size;
  }

  put(name: string, answer: Answer, at: number): void {
    const kept = answer === null ? NEGATIVE : typeof answer === "string" ? UNANSWERED : POSITIVE;
    this.#kept.delete(name);
    this.#kept.set(name, { answer, until: at + kept });
    if (this.#kept.size > MAX_ANSWERS) this.#kept.delete(this.#kept.keys().next().value as string);
  }

  /** Return an answer; undefined if there is none, or it is too old. */
  get(name: string, at: number): Answer | undefined {
    const found = this.#kept.get(name);
    if (found !== undefined && at < found.until) return found.answer;
    this.#kept.delete(name);
    return undefined;
  }
}

/** Verifies tokens by asking: `Verifier.introspection` creates it. */
export class IntrospectionVerifier implements TokenVerifier {
  readonly acceptsOpaque = true;
  readonly url: string;
  /** Only for its checks of claims: nobody has the private key. */
  readonly #claims: Verifier;
  readonly #timeout: number;
  readonly #authorization: string;
  readonly #agent: Agent | undefined;
  readonly #log: Log;
  readonly #clock: () => number;
  readonly #answers = new Answers();
  /** The questions without an answer, by the tokens' hashes. */
  readonly #waiting = new Map<string, Promise<void>>();
  readonly #queue: (() => void)[] = [];
  #requests = 0;
  #asked = 0;
  #failures = 0;
  #retryAt = -Infinity;
  #answeredAt: number | null = null;
  #notedAt = -Infinity;
  #lastError: string | null = null;

  /** @throws {ConfigError} an invalid URL or setting. */
  constructor(url: string, { clientId, clientSecret, fetchTimeout, agent, log, clock, ...options }: IntrospectionOptions) {
    this.url = checkUrl(url, "the introspection URL");
    if (![clientId, clientSecret].every((text) => typeof text === "string" && text !== "")) {
      throw new ConfigError("introspection requires clientId and clientSecret: the name and the secret of this server");
    }
    for (const name of NOT_USED) {
      if (name in options) throw new ConfigError(`cannot use ${name} with introspection: the tokens have no header; remove it`);
    }
    const { publicKey } = generateKeyPairSync("ed25519");
    const key = Key.fromJwk(publicKey.export({ format: "jwk" }) as Record<string, unknown>);
    this.#claims = new Verifier(key, { ...options, algorithms: ["EdDSA"] });
    this.#timeout = checkTimeout(fetchTimeout);
    this.#authorization = basicAuthorization(clientId, clientSecret);
    this.#agent = agent;
    this.#log = unfailing(log ?? logToConsole);
    this.#clock = clock ?? (() => performance.now() / 1000);
  }

  get issuers(): readonly string[] {
    return this.#claims.issuers;
  }

  get maxToken(): number {
    return this.#claims.maxToken;
  }

  get requiresSubject(): boolean {
    return this.#claims.requiresSubject;
  }

  get longestLifetime(): number | null {
    return this.#claims.longestLifetime;
  }

  /**
   * Verify a token, if the answer about it is known.
   *
   * @throws {TokenError} the token is not active, or is meant for others.
   * @throws {Unavailable} the answer is not known. The error has what to wait for, if it is being fetched.
   */
  verify(token: unknown, now: number = Date.now() / 1000, source = "", provedKey: string | null = null): Identity {
    if (typeof token !== "string") {
      throw new MalformedToken(`a ${typeof token} instead of a string`, { message: "invalid token datatype" });
    }
    if (token.length > this.maxToken || !FORM.test(token)) {
      throw new MalformedToken("not a bearer token", { message: "jwt malformed" });
    }
    const claims = this.#answer(token);
    if (claims === null) {
      throw new ExpiredToken("exp", "the token is not active: it has expired, or was revoked, or never existed");
    }
    const { exp } = claims;
    if (typeof exp === "number" && now >= exp) {
      throw new ExpiredToken("exp", "the token has expired", { facts: { expired_at: exp } });
    }
    return this.identify({ ...claims }, now, source, provedKey);
  }

  /** Check the claims of an active token, as {@link Verifier.identify} does. */
  identify(claims: Claims, now: number, source = "", provedKey: string | null = null): Identity {
    return this.#claims.identify(claims, now, source, provedKey);
  }

  /** Return what is known about the endpoint. */
  status(): IntrospectionStatus {
    const age = this.#answeredAt === null ? null : this.#clock() - this.#answeredAt;
    const [kept, asked, failures, lastError] = [this.#answers.size, this.#asked, this.#failures, this.#lastError];
    return { url: this.url, kept, asked, failures, lastError, age };
  }

  /** Return the claims of an active token, null for any other one, or throw {@link Unavailable}. */
  #answer(token: string): Claims | null {
    const name = createHash("sha256").update(token).digest("base64");
    const at = this.#clock();
    const known = this.#answers.get(name, at);
    if (typeof known === "string") throw new Unavailable(`${this.url} could not answer about this token: ${known}`);
    if (known !== undefined) return known;
    let done = this.#waiting.get(name);
    if (done === undefined && at >= this.#retryAt && this.#waiting.size < MAX_ASKED) {
      done = this.#ask(name, token).catch(() => undefined);
      this.#waiting.set(name, done);
    }
    if (done === undefined) throw new Unavailable(`cannot ask ${this.url}: ${this.#lastError ?? "too many questions at once"}`);
    throw new Unavailable(`${this.url} is being asked`, new FetchLookup(done, this.#timeout));
  }

  async #ask(name: string, token: string): Promise<void> {
    if (this.#requests >= MAX_REQUESTS) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#requests += 1;
    this.#asked += 1;
    try {
      this.#answered(name, ...(await this.#request(token)));
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#waiting.delete(name);
      const next = this.#queue.shift();
      if (next) next();
      else this.#requests -= 1;
    }
  }

  /**
   * Return the answer about a token, and what is wrong with it or null.
   *
   * @throws {FetchError} the endpoint would answer about no other token either.
   */
  async #request(token: string): Promise<[Answer, string | null]> {
    try {
      return [await this.#claimsOf(token), null];
    } catch (error) {
      if (error instanceof AnswerError) return [error.message, error.message];
      const status = error instanceof FetchError ? error.status : null;
      if (status === null) throw error;
      const { message } = error as FetchError;
      if (WRONG_QUESTION.includes(status)) return [null, message];
      if (NO_ANSWER.includes(status)) return [message, message];
      throw error;
    }
  }

  /** Return the claims of an active token, or null. */
  async #claimsOf(token: string): Promise<Claims | null> {
    const form = new URLSearchParams({ token, token_type_hint: "access_token" }).toString();
    const [authorization, agent] = [this.#authorization, this.#agent];
    const members = parseObject(await fetchBody({ url: this.url, maxBytes: MAX_BYTES, form, authorization, agent }));
    const { active, ...claims } = members;
    if (typeof active !== "boolean") throw new AnswerError("not an introspection response: it has no active");
    if (!active) return null;
    // The member is optional, and the endpoint is this issuer's.
    if (this.issuers.length === 1 && !Object.hasOwn(claims, "iss")) claims.iss = this.issuers[0];
    return claims;
  }

  #answered(name: string, answer: Answer, problem: string | null): void {
    const at = this.#clock();
    this.#answers.put(name, answer, at);
    this.#lastError = problem;
    if (problem === null) {
      const wasDown = this.#failures > 0;
      [this.#answeredAt, this.#failures, this.#retryAt] = [at, 0, -Infinity];
      if (wasDown) this.#log(`${this.url} answers again`);
    } else if (at >= this.#notedAt + NOTE_SECONDS) {
      this.#notedAt = at; // every stranger can cause it
      this.#log(`${this.url} did not answer about a token: ${problem}`);
    }
  }

  #failed(error: unknown): void {
    const isExpected = error instanceof FetchError;
    const problem = isExpected ? error.message : "an unexpected failure";
    const isNew = problem !== this.#lastError || this.#failures === 0;
    this.#failures += 1;
    this.#retryAt = this.#clock() + retryDelay(this.#failures);
    this.#lastError = problem;
    if (isNew) this.#log(`cannot ask ${this.url}: ${problem}`, isExpected ? undefined : error);
  }
}
