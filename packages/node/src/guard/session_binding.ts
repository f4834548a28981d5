/** Checks that the requests of a polling session come from its owner, because the session's ID is not a credential. */

import { countsAsBad } from "../core/bad_tokens.js";
import { type Credential, fromHandshake, hasCredentials } from "../core/credentials.js";
import { isGuest } from "../core/identity.js";
import { networkOf } from "../core/networks.js";
import { CredentialsError, TooManyAttempts } from "../errors.js";
import { type Authorizer, asAuthError } from "./authorizer.js";
import { monotonic } from "./clock.js";
import type { ConnectionState, GuardContext } from "./socket.js";

/** Requests of one session that can wait: a poll, a POST and an upgrade, and one again after a lost connection. */
const MAX_VERIFYING = 4;

type Carried = ConnectionState["carried"];

/** Binds each session to the token of the HTTP request that opened it. */
export class SessionBinding {
  constructor(
    private readonly context: GuardContext,
    private readonly authorizer: Authorizer,
  ) {}

  /**
   * True if a later request of a session comes from the client that opened it.
   *
   * If the opening request carried a token, a later one must carry the same token, or another valid one of the same
   * subject. Some clients send their headers with the first request only: until a later request repeats the token, the
   * network that opened the session is enough.
   */
  isOwner(connection: ConnectionState, carried: Carried, address: string): boolean | Promise<boolean> {
    connection.credential ??= this.#opening(connection);
    const opened = connection.credential;
    if (opened === "none") return true;
    try {
      const presented = this.#presented(carried);
      if (presented === null) return sendsOnce(opened, connection) && networkOf(address) === networkOf(connection.address);
      if (presented.token !== opened.token) return this.#verify(connection, opened, presented, address);
    } catch {
      return false;
    }
    connection.repeatsCredential = true;
    return true;
  }

  /** Report a request from another client. The owner's session continues. */
  reportHijack(address: string): void {
    this.context.refusals.report(new CredentialsError("a session ID without the session's token"), address);
  }

  /** Verify a request's token, for a few requests at a time. */
  async #verify(connection: ConnectionState, opened: Credential, presented: Credential, address: string): Promise<boolean> {
    try {
      if (connection.verifying >= MAX_VERIFYING) throw new TooManyAttempts("too many requests of one session are verified");
      connection.verifying += 1;
      try {
        if (!(await this.#isSameSubject(connection, opened, presented))) return false;
      } finally {
        connection.verifying -= 1;
      }
    } catch (caught) {
      const error = asAuthError(caught);
      if (countsAsBad(error)) this.context.badTokens.count(address, monotonic());
      return false;
    }
    if (connection.closing) return false;
    connection.credential = presented;
    connection.repeatsCredential = true;
    return true;
  }

  async #isSameSubject(connection: ConnectionState, opened: Credential, presented: Credential): Promise<boolean> {
    const who = await this.authorizer.verify(presented);
    const identities = [...connection.sockets.values()].filter((socket) => socket.live).map((socket) => socket.identity);
    let known = identities.filter((identity) => identity !== null && !isGuest(identity));
    // Before CONNECT no identity is known, and two tabs may have refreshed a cookie.
    if (known.length === 0 && opened.token.split(".").length === 3) known = [await this.authorizer.verify(opened)];
    return known.some((one) => one?.issuer === who.issuer && one.subject === who.subject);
  }

  /** The token of the request that opened a session. */
  #opening(connection: ConnectionState): Credential | "none" {
    try {
      return this.#presented(connection.carried) ?? "none";
    } catch {
      return "none"; // the CONNECT packet is refused for it
    }
  }

  /** The token of an HTTP request, or null. */
  #presented(carried: Carried): Credential | null {
    const { handshake } = this.context.settings;
    if (handshake === null || !hasCredentials(handshake, null, carried)) return null;
    return fromHandshake(handshake, null, carried);
  }
}

/** True if the client may send its headers only in the first request. */
function sendsOnce(opened: Credential, connection: ConnectionState): boolean {
  return opened.source === "header" && !connection.repeatsCredential;
}
