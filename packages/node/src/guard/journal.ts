/**
 * Revocations made by the login server, followed over HTTP: `GET /auth/revocations`, with client credentials and a bounded
 * long poll. Each part is signed with a key of the access tokens.
 */

import { checkNames } from "../core/options.js";
import { checkUrl } from "../core/urls.js";
import { ConfigError } from "../errors.js";
import { verifyWaiting } from "../keysets/waiting.js";
import { monotonic } from "./clock.js";
import { follow, pause } from "./following.js";
import { type JournalTarget, type RevocationSource, applyEntry } from "./journal_target.js";

export interface JournalOptions {
  /** The address of the journal, such as `https://login.example/auth/revocations`. */
  url: string;
  /** An OAuth client with a secret and the scope `roomkey:revocations`. */
  clientId: string;
  clientSecret: string;
  /**
   * Milliseconds without the journal after which new tokens are refused with `temporarily_unavailable`. Connected sockets
   * stay. Default: 60000.
   */
  staleAfter?: number;
  /** Seconds that the login server may wait for something new. Default: 20. */
  wait?: number;
  /** Replaces `fetch`, for tests and proxies. */
  fetch?: typeof fetch;
}

/** What reads signed documents: a `Verifier`, which checks the signature and the type. */
export interface DocumentVerifier {
  verifyDocument(document: unknown, type: string, now?: number): Record<string, unknown>;
}

const TYPE = "revocations+jwt";
/** Milliseconds between two attempts after a failure, at first and at the most; a random part is taken off. */
const RETRY = { first: 250, most: 10_000 };
/**
 * Milliseconds from one request to the next, if there was nothing new. A login server that cannot let everybody wait responds
 * immediately.
 */
const PERIOD = 500;
/** Bytes of one part. */
const MAX_PART = 8 * 1024 * 1024;

const NAMES: Readonly<Record<keyof JournalOptions, true>> = {
  url: true,
  clientId: true,
  clientSecret: true,
  staleAfter: true,
  wait: true,
  fetch: true,
};

/** Follows a journal until it is closed. */
export class Journal implements RevocationSource {
  readonly #url: URL;
  readonly #authorization: string;
  readonly #staleAfter: number;
  readonly #wait: number;
  readonly #fetch: typeof fetch;
  readonly #stopped = new AbortController();
  #position = 0;
  #knownAt = -Infinity;

  constructor(
    private readonly options: JournalOptions,
    private readonly verifier: DocumentVerifier,
    private readonly target: JournalTarget,
  ) {
    checkNames(options, NAMES);
    const { url, clientId, clientSecret, staleAfter = 60_000, wait = 20 } = options;
    if (typeof clientId !== "string" || typeof clientSecret !== "string" || !clientId || !clientSecret) {
      throw new ConfigError("the journal requires clientId and clientSecret");
    }
    if (!Number.isInteger(wait) || wait < 0) throw new ConfigError("wait must be a whole number of seconds");
    if (!(staleAfter > wait * 1000)) throw new ConfigError("staleAfter must be longer than one wait for the journal");
    if (typeof verifier.verifyDocument !== "function") {
      throw new ConfigError("the journal requires a Verifier, which checks its signatures");
    }
    this.#url = new URL(checkUrl(url, "the journal's url"));
    const credentials = [clientId, clientSecret].map((text) => new URLSearchParams([["", text]]).toString().slice(1)).join(":");
    this.#authorization = `Basic ${Buffer.from(credentials).toString("base64")}`;
    this.#staleAfter = staleAfter / 1000;
    this.#wait = wait;
    this.#fetch = options.fetch ?? fetch;
  }

  /** True if too much may have been revoked since the journal was last read. */
  get isStale(): boolean {
    return monotonic() - this.#knownAt > this.#staleAfter;
  }

  /** Follow the journal in the background. */
  start(): void {
    const delay = (failures: number): number => Math.min(RETRY.first * 2 ** failures, RETRY.most);
    void follow(this.#stopped.signal, this.target, (hasFailed) => this.#readOrWait(hasFailed), delay);
  }

  close(): void {
    this.#stopped.abort();
  }

  async #readOrWait(hasFailed: boolean): Promise<void> {
    const begun = monotonic();
    const isNew = await this.#read(this.#knownAt === -Infinity || hasFailed ? 0 : this.#wait);
    if (!isNew) await pause(PERIOD - (monotonic() - begun) * 1000, this.#stopped.signal);
  }

  /**
   * Read one part.
   *
   * @returns false if there is nothing new.
   */
  async #read(wait: number): Promise<boolean> {
    const begun = monotonic();
    const url = new URL(this.#url);
    url.searchParams.set("after", String(this.#position));
    url.searchParams.set("wait", String(wait));
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout((wait + 10) * 1000)]);
    const headers = { Authorization: this.#authorization, Accept: "application/jwt" };
    const response = await this.#fetch(url, { headers, signal, redirect: "error" });
    if (response.status !== 200) throw new Error(`the journal responded with ${response.status}`);
    const document = await limitedText(response);
    const part = await verifyWaiting(() => this.verifier.verifyDocument(document, TYPE));
    const before = this.#position;
    this.#apply(part);
    // What was revoked before the request began is known now; a wait that ended empty proves the whole time.
    this.#knownAt = wait === 0 ? begun : monotonic();
    return this.#position !== before;
  }

  #apply(part: Record<string, unknown>): void {
    const { aud, after, position, revocations } = part;
    if (aud !== this.options.clientId) throw new Error("this part of the journal is for another client");
    if (after !== this.#position) throw new Error("this part of the journal is not the one that was asked for");
    if (!Number.isSafeInteger(position) || !Array.isArray(revocations)) throw new Error("this is not a part of the journal");
    for (const entry of revocations as unknown[]) applyEntry(entry, this.target);
    this.#position = position as number;
  }
}

async function limitedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_PART) throw new Error("a part of the journal is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("latin1");
}
