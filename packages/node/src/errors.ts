/**
 * Every error that roomkey throws, and the one text of each that a client may see. The tree is that of `roomkey.errors`
 * in Python: the same codes, reasons and texts.
 *
 * `error.message` is the client's text, fixed for each kind of error. `error.detail` is for the operator's log and says
 * what was found. Neither contains a token, a key or a password.
 */

/** What a client receives: the `data` of a CONNECT_ERROR or of the event `unauthorized`. */
export interface ClientError {
  message: string;
  code: string;
  type: "UnauthorizedError";
  reason?: string;
  retry?: true;
  [fact: string]: unknown;
}

export interface ErrorOptions {
  /** The client's text, where one kind of error has several. */
  message?: string | undefined;
  /** Further members for the client, such as `expired_at`. */
  facts?: Record<string, unknown> | undefined;
}

/** A mistake in the program or its settings, thrown when the object is made. The text says what to change. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** A connection, a token or an action was refused. */
export class AuthError extends Error {
  static readonly code: string = "invalid_token";
  static readonly reason: string | null = null;
  static readonly temporary: boolean = false;
  static readonly retry: boolean = false;
  static readonly text: string = "invalid token";

  /** What was found, for the operator's log. */
  detail: string;
  readonly facts: Record<string, unknown>;

  constructor(detail = "", options: ErrorOptions = {}) {
    super(options.message ?? new.target.text);
    this.name = new.target.name;
    this.detail = detail || this.message;
    this.facts = options.facts ?? {};
  }

  private get kind(): typeof AuthError {
    return this.constructor as typeof AuthError;
  }

  /** The stable code: `invalid_token`, `credentials_required`, … */
  get code(): string {
    return this.kind.code;
  }

  /** Finer than the code, or null. */
  get reason(): string | null {
    return this.kind.reason;
  }

  /** True if the same request may succeed later. */
  get temporary(): boolean {
    return this.kind.temporary;
  }

  /** What Socket.IO sends with the message when a middleware calls `next(error)`. */
  get data(): unknown {
    return this.toClient();
  }

  /** Return what the client receives. */
  toClient(): unknown {
    const told: ClientError = { message: this.message, code: this.code, type: "UnauthorizedError" };
    if (this.reason !== null) told.reason = this.reason;
    if (this.kind.retry) told.retry = true;
    return { ...told, ...this.facts };
  }
}

/** No token, or none that could be read from where tokens may come from. */
export class CredentialsError extends AuthError {
  static override readonly code: string = "credentials_required";
  static override readonly text: string = "no token provided";
}

/** An `Authorization` value that is not `Bearer <token>` (RFC 6750 section 2.1). */
export class CredentialsBadFormat extends CredentialsError {
  static override readonly code = "credentials_bad_format";
  static override readonly text = "Format is Authorization: Bearer [token]";
}

/** The `Authorization` header is the only accepted source, and is missing. */
export class MissingAuthorizationHeader extends CredentialsError {
  static override readonly code = "missing_authorization_header";
  static override readonly text = "Server requires Authorization Header";
}

/** A token was presented and is not acceptable. */
export class TokenError extends AuthError {}

/** Not a JSON Web Token in the strict compact form (RFC 7515 section 3.1, RFC 7519 section 7.2). */
export class MalformedToken extends TokenError {
  static override readonly reason = "malformed";
}

/** The signature does not verify with the key (RFC 7515 section 5.2). */
export class BadSignature extends TokenError {
  static override readonly reason = "bad_signature";
  static override readonly text = "invalid signature";
}

/** No key for this `kid`. A client cannot tell it from a bad signature; the log can. */
export class UnknownKey extends TokenError {
  static override readonly reason = "bad_signature";
  static override readonly text = "invalid signature";
}

/** The header's `alg` is not one that the verifier or the key allows (RFC 8725 section 3.1). */
export class AlgorithmNotAllowed extends TokenError {
  static override readonly reason = "bad_signature";
  static override readonly text = "invalid algorithm";
}

/** A claim has a wrong type or value. */
export class ClaimError extends TokenError {
  static override readonly reason: string = "claim";

  constructor(
    readonly claim: string,
    detail = "",
    options: ErrorOptions = {},
  ) {
    const own = new.target.text === AuthError.text ? `invalid ${claim} value` : undefined;
    super(detail, { message: options.message ?? own, facts: { claim, ...options.facts } });
  }
}

/** A required claim is missing. */
export class MissingClaim extends ClaimError {}

/** `exp` has passed (RFC 7519 section 4.1.4). */
export class ExpiredToken extends ClaimError {
  static override readonly reason = "token_expired";
  static override readonly retry = true;
  static override readonly text = "jwt expired";
}

/** `nbf` is in the future (RFC 7519 section 4.1.5). */
export class ImmatureToken extends ClaimError {
  static override readonly text = "jwt not active";
}

/** A connected socket presented the token of another subject. */
export class SubjectMismatch extends ClaimError {
  static override readonly reason = "subject_mismatch";
  static override readonly text = "jwt subject invalid";

  constructor(detail = "") {
    super("sub", detail);
  }
}

/** The token, its login session or its subject was revoked (RFC 7009). */
export class RevokedToken extends TokenError {
  static override readonly reason = "token_revoked";
  static override readonly text = "jwt revoked";
}

/** A token that is bound to a key was presented without a valid DPoP proof (RFC 9449 section 7.1). */
export class InvalidProof extends AuthError {
  static override readonly code: string = "invalid_dpop_proof";
  static override readonly reason: string = "invalid_dpop_proof";
  static override readonly text: string = "invalid DPoP proof";
}

/** The DPoP proof has no valid nonce of this server (RFC 9449 section 9). */
export class NonceRequired extends InvalidProof {
  static override readonly code = "use_dpop_nonce";
  static override readonly reason = "use_dpop_nonce";
  static override readonly retry = true;
  static override readonly text = "DPoP nonce required";

  constructor(nonce: string, detail = "") {
    super(detail, { facts: { nonce } });
  }
}

/** The connection did not authenticate in time. */
export class AuthenticationTimeout extends AuthError {
  static override readonly code = "authentication_timeout";
  static override readonly reason = "authentication_timeout";
  static override readonly text = "authentication timeout";
}

/** More refused attempts than one connection may have. */
export class TooManyAttempts extends AuthError {
  static override readonly code = "too_many_attempts";
  static override readonly reason = "too_many_attempts";
  static override readonly text = "too many attempts";
}

/** More than one socket may have at once. */
export class LimitExceeded extends AuthError {
  static override readonly code = "limit_exceeded";
  static override readonly reason = "limit_exceeded";
  static override readonly temporary = true;
  static override readonly text = "limit exceeded";

  constructor(limit: string, detail = "") {
    super(detail || `too many ${limit}`, { facts: { limit } });
  }
}

/** Known, but not allowed to: a namespace, a room or an event (RFC 6750 section 3.1, `insufficient_scope`). */
export class PermissionDenied extends AuthError {
  static override readonly code = "permission_denied";
  static override readonly reason = "permission_denied";
  static override readonly text = "Insufficient permissions";
}

/** The application's own middleware refused. */
export class Declined extends PermissionDenied {
  constructor(
    message: string,
    private readonly told: unknown,
  ) {
    super("the middleware refused", { message });
  }

  override toClient(): unknown {
    return this.told === undefined ? super.toClient() : this.told;
  }
}

/** The token is valid, but its holder authenticated too long ago for this (RFC 9470 section 3). */
export class ReauthenticationRequired extends AuthError {
  static override readonly code = "insufficient_user_authentication";
  static override readonly reason = "reauthentication_required";
  static override readonly text = "authenticate again";

  constructor(maxAge: number, detail = "") {
    super(detail, { facts: { max_age: maxAge } });
  }
}

/** A packet that no honest client sends. */
export class ProtocolViolation extends AuthError {
  static override readonly code = "protocol_violation";
  static override readonly text = "protocol violation";
}

/** What to wait for before a decision is made again, such as the keys of another server. */
export interface Lookup {
  /** The longest time to wait, in seconds. */
  readonly timeout: number;
  /** Resolve as soon as the answer is there, or after so many seconds. It never rejects. */
  wait(seconds: number): Promise<void>;
}

/** What is needed to decide does not work. Refused, and worth another try. */
export class Unavailable extends AuthError {
  static override readonly code = "temporarily_unavailable";
  static override readonly reason = "temporarily_unavailable";
  static override readonly temporary = true;
  static override readonly retry = true;
  static override readonly text = "temporarily unavailable";

  /** @param lookup if the answer is being fetched, what to wait for; `verifyWaiting` does. */
  constructor(
    detail = "",
    readonly lookup: Lookup | null = null,
  ) {
    super(detail);
  }
}
