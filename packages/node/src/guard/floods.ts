/** Counts what a client can send on one connection that costs a verification, or that nobody waits for. */

import { TokenBucket } from "../core/rate.js";
import { monotonic } from "./clock.js";

/** Tokens that one connection may present, in CONNECT packets and on its connected sockets: each of them is verified. */
const TOKENS_PER_SECOND = 100;
/** Acknowledgements that nobody waits for, of one connection. */
const UNEXPECTED_PER_SECOND = 100;

export class Floods {
  /** Counts what presents a token, from the second on: most connections present one. */
  #tokens: TokenBucket | null = null;
  #hasPresented = false;
  #unexpected: TokenBucket | null = null;

  constructor(private readonly maxNamespaces: number) {}

  /** Count what presents a token; returns true if there is a flood of it. */
  token(): boolean {
    if (!this.#hasPresented) {
      this.#hasPresented = true;
      return false;
    }
    this.#tokens ??= new TokenBucket(Math.max(TOKENS_PER_SECOND, 2 * this.maxNamespaces), monotonic());
    return !this.#tokens.take(monotonic());
  }

  /** Count an acknowledgement that nobody waits for; returns true if there is a flood of them. */
  unexpectedAck(): boolean {
    this.#unexpected ??= new TokenBucket(UNEXPECTED_PER_SECOND, monotonic());
    return !this.#unexpected.take(monotonic());
  }
}
