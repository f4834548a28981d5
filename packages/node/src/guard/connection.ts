/** One Engine.IO connection, and the sockets that run over it. */

import { type Carried, isCookieOfAllowedPage } from "../core/credentials.js";
import { TokenBucket } from "../core/rate.js";
import { type AuthError, AuthenticationTimeout, ProtocolViolation } from "../errors.js";
import type { Core } from "./core.js";
import type { HostClient } from "./host.js";
import type { GuardedSocket } from "./socket.js";
import { monotonic } from "./timers.js";

/** Tokens that one connection may present, in CONNECT packets and on its connected sockets: each of them is verified. */
const TOKENS_PER_SECOND = 100;

export class GuardedConnection {
  /** By namespace: those that are admitted, and those that are not yet. */
  readonly sockets = new Map<string, GuardedSocket>();
  readonly address: string;
  readonly carried: Carried;
  readonly openedAt = monotonic();
  /** How many tokens were rejected on it before anything was admitted. */
  badTokens = 0;
  /** Nothing was ever admitted on it. */
  anonymous = true;
  /** It is being closed; what still arrives is dropped. */
  closing = false;
  #refusals = 0;
  #idle: NodeJS.Timeout | undefined;
  readonly #tokens: TokenBucket;

  constructor(
    private readonly core: Core,
    readonly client: HostClient,
  ) {
    const { conn } = client;
    this.address = conn.remoteAddress ?? "";
    this.carried = carriedBy(conn.request, core.options.origins);
    this.#tokens = new TokenBucket(Math.max(TOKENS_PER_SECOND, 2 * core.options.maxNamespaces), monotonic());
    conn.once("close", () => this.#lost());
  }

  /** True if some socket on it is alive. */
  get inUse(): boolean {
    return [...this.sockets.values()].some((socket) => socket.live);
  }

  /** Count what presents a token; a flood of it closes the connection. */
  isFlood(): boolean {
    if (this.#tokens.take(monotonic())) return false;
    this.violation("one token after the other");
    return true;
  }

  /** Something arrived that no honest client sends. */
  violation(detail: string): void {
    if (this.closing) return;
    this.core.refused(new ProtocolViolation(detail), this);
    this.close();
  }

  /** A CONNECT was answered with a refusal: count it, and close what nobody uses. */
  refusedOne(): void {
    this.#refusals += 1;
    if (this.#refusals < this.core.options.maxRefusals && this.inUse) return;
    setImmediate(() => this.close()); // after the answer, which socket.io writes in the next tick
  }

  /** The server ended a namespace connection; a connection that nobody uses is closed. */
  leftOne(): void {
    if (!this.inUse) this.close();
  }

  /** A client left a namespace: it may ask for another one, for a while; where nothing was admitted, since the opening. */
  left(): void {
    if (this.closing || this.inUse) return;
    const waited = this.anonymous ? monotonic() - this.openedAt : 0;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#closeIfIdle(), Math.max(0, this.core.options.timeout - waited) * 1000);
    this.#idle.unref();
  }

  #closeIfIdle(): void {
    if (this.inUse || this.closing) return;
    this.core.refused(new AuthenticationTimeout("no namespace was joined in time"), this);
    this.close();
  }

  /** Close the transport after what was sent before; from now on nothing on it counts. */
  close(): void {
    if (this.closing) return;
    this.closing = true;
    for (const socket of this.sockets.values()) socket.feed("gone");
    this.client.conn.close();
  }

  #lost(): void {
    this.closing = true;
    clearTimeout(this.#idle);
    for (const socket of [...this.sockets.values()]) socket.gone();
    this.core.forget(this);
  }
}

/** What an HTTP request carries where tokens may be. */
export function carriedBy(request: Requested | undefined, origins: readonly string[]): Carried {
  const authorization = request?.headers?.authorization;
  const cookie = isCookieOfAllowedPage(request?.headers ?? {}, origins) ? request?.headers?.cookie : undefined;
  const url = request?.url ?? "";
  const at = url.indexOf("?");
  return {
    authorization: typeof authorization === "string" ? authorization : undefined,
    cookie: typeof cookie === "string" ? cookie : undefined,
    query: at < 0 ? undefined : url.slice(at + 1),
  };
}

interface Requested {
  headers?: Record<string, string | string[] | undefined>;
  url?: string | undefined;
}

export type Refused = (error: AuthError, address: string) => unknown;
