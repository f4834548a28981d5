/** Tokens of plain HTTP requests, for the routes of the same application. */

import { STATUS_CODES } from "node:http";

import { type AuthError, CredentialsError } from "../errors.js";

/**
 * A request without a valid token. Express and Fastify answer it with its status and its `WWW-Authenticate` header
 * (RFC 6750 section 3); with another framework, use these members.
 */
export class Unauthorized extends Error {
  override readonly name = "Unauthorized";
  readonly status: number;
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  /** The message may be shown to the client. */
  readonly expose = true;
  override readonly cause: AuthError;

  constructor(error: AuthError) {
    super(error.message);
    this.cause = error;
    this.status = this.statusCode = error.temporary ? 503 : 401;
    this.headers = error.temporary ? { "Retry-After": "1" } : { "WWW-Authenticate": challenge(error) };
  }

  /** What a body may say. */
  toJSON(): object {
    return { error: STATUS_CODES[this.status], ...(this.cause.toClient() as object) };
  }
}

function challenge(error: AuthError): string {
  // Where no token was presented, no error is named (RFC 6750 section 3.1).
  return error instanceof CredentialsError ? 'Bearer realm="roomkey"' : 'Bearer realm="roomkey", error="invalid_token"';
}
