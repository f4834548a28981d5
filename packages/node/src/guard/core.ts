/** What all sockets of one guard share: its settings, its decisions, its deadlines, and who is told what. */

import type { Credential, Sources } from "../core/credentials.js";
import type { Identity } from "../core/identity.js";
import { Revocations } from "../core/revocations.js";
import { AuthError, AuthenticationTimeout, ClaimError, ExpiredToken } from "../errors.js";
import { type WriteLine, record, tokenHash, withoutSecrets } from "./audit.js";
import { type Authorizer, isThenable, type Log } from "./authorizer.js";
import type { GuardedConnection, Refused } from "./connection.js";
import { TOKEN_EXPIRING } from "./contract.js";
import type { HostClient } from "./host.js";
import type { GuardedSocket } from "./socket.js";
import { Timers } from "./timers.js";

/** The share of the warning time over which warnings are spread: thousands of sockets do not refresh in one second. */
const JITTER = 0.5;

/** The checked settings of a guard; times are in seconds. */
export interface CoreOptions {
  /** Where a handshake may present a token; null if it may not. */
  sources: Required<Sources> | null;
  /** The origins of the pages whose cookies count. */
  origins: readonly string[];
  /** Whether a token may come by the event `authenticate`. */
  later: boolean;
  /** Seconds in which a connection must authenticate. */
  timeout: number;
  maxAttempts: number;
  required: boolean;
  grace: number;
  warnBefore: number;
  maxRefusals: number;
  maxNamespaces: number;
  userRooms: boolean;
  audit: WriteLine | null;
  log: Log;
}

/** Serves an event of the guard's own. */
export type Served = (socket: GuardedSocket, name: string, args: readonly unknown[]) => Promise<void>;

export class Core {
  readonly connections = new Map<HostClient, GuardedConnection>();
  /** Of the guard's own events, by name. */
  readonly served = new Map<string, Served>();
  readonly callbacks: Refused[] = [];
  readonly timers: Timers<GuardedSocket>;

  constructor(
    readonly options: CoreOptions,
    readonly authorizer: Authorizer,
    readonly revocations: Revocations,
  ) {
    this.timers = new Timers<GuardedSocket>(
      () => authorizer.now(),
      (socket) => socket.end("timeout", new AuthenticationTimeout("no valid token in time")),
      (socket) => this.#expiryPassed(socket),
    );
  }

  /** Every socket, admitted or not. */
  *sockets(): Generator<GuardedSocket> {
    for (const connection of [...this.connections.values()]) yield* [...connection.sockets.values()];
  }

  forget(connection: GuardedConnection): void {
    this.connections.delete(connection.client);
  }

  /** A socket has a token, or a new one: its deadlines move. */
  watch(socket: GuardedSocket): void {
    const expiresAt = socket.identity?.expiresAt ?? null;
    if (expiresAt === null) {
      this.timers.forget(socket);
      return;
    }
    // Never before half of the time that is left, or a client with short tokens would renew without end.
    const lead = Math.min(this.options.warnBefore, (expiresAt - this.authorizer.now()) / 2);
    const spread = 1 - JITTER * Math.random();
    this.timers.at(socket, lead > 0 ? expiresAt - lead * spread : expiresAt + this.options.grace);
  }

  #expiryPassed(socket: GuardedSocket): void {
    const expiresAt = socket.identity?.expiresAt ?? null;
    if (expiresAt === null || !socket.live) return;
    const now = this.authorizer.now();
    const end = expiresAt + this.options.grace;
    if (now >= end) {
      const error = new ExpiredToken("exp", "expired while connected", { facts: { expired_at: expiresAt } });
      socket.end("expire", error);
      return;
    }
    this.timers.at(socket, end);
    const left = Math.floor(expiresAt - now);
    if (left > 0 && socket.admitted) socket.send(TOKEN_EXPIRING, { expires_in: left });
  }

  /** Write one line about a socket. */
  audit(event: string, socket: GuardedSocket, facts: Record<string, unknown> = {}): void {
    if (this.options.audit === null) return;
    const who = socket.identity;
    const about = { namespace: socket.namespace, sub: who?.subject ?? null, token: socket.tokenName };
    record(this.options.audit, event, { ...about, ...facts });
  }

  /** Write the audit line of a refusal, and call the application's callbacks. */
  refused(error: AuthError, connection: GuardedConnection, socket?: GuardedSocket, presented?: Credential): void {
    if (this.options.audit !== null) {
      record(this.options.audit, "refused", {
        code: error.code,
        reason: error.reason,
        claim: error instanceof ClaimError ? error.claim : null,
        check: withoutSecrets(error.detail),
        namespace: socket?.namespace,
        sub: socket?.identity?.subject,
        token: socket?.tokenName ?? (presented ? tokenHash(presented.token) : null),
        address: connection.address,
      });
    }
    for (const callback of this.callbacks) this.safely("onRefused", () => callback(error, connection.address));
  }

  /** Call something of the application's; what it throws or rejects is logged and changes nothing. */
  safely(what: string, call: () => unknown): void {
    const failed = (error: unknown): void => this.options.log(`${what} failed`, error);
    try {
      const result = call();
      if (isThenable(result)) result.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }
}

/** What the audit log calls a token: its `jti`, else a part of its hash. */
export function tokenName(who: Identity, presented: Credential | null): string | null {
  return who.tokenId ?? (presented === null ? null : tokenHash(presented.token));
}
