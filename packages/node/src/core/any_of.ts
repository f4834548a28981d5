/** One verifier for the tokens of several issuers, each with its own settings. */

import { ConfigError, MalformedToken, UnknownKey } from "../errors.js";
import type { Claims } from "./claims.js";
import type { Identity } from "./identity.js";
import { decodePart, jsonObject, parseHeader, split } from "./jws.js";
import { printable } from "./printable.js";

/** What every verifier has. Verifiers do not wait: see `verifyWaiting`. */
export interface TokenVerifier {
  /** The accepted values of `iss`; empty if any is accepted. */
  readonly issuers: readonly string[];
  /** The longest accepted token, in bytes. */
  readonly maxToken: number;
  /** True if all accepted tokens have a subject. */
  readonly requiresSubject: boolean;
  /** The longest lifetime of an accepted token in seconds, or null if the settings do not limit it. */
  readonly longestLifetime: number | null;
  /** What is insecure about the settings, without secrets. */
  readonly warnings?: readonly string[];
  /** True if it verifies tokens that are not JSON Web Tokens. */
  readonly acceptsOpaque?: boolean;
  /** Return the identity of a token's user, or throw one `AuthError`. */
  verify(token: unknown, now?: number, source?: string, provedKey?: string | null): Identity;
  /** Check the claims of a token that is already verified. */
  identify(claims: Claims, now: number, source?: string, provedKey?: string | null): Identity;
  /** Verify a document that the issuer has signed, and that is not a token. */
  verifyDocument?(document: unknown, type: string, now?: number): Claims;
}

/**
 * Verifies tokens of several issuers: `Verifier.anyOf` creates it. The claim `iss` selects the verifier before a key is
 * tried, and only that verifier decides.
 */
export class AnyOf implements TokenVerifier {
  readonly #byIssuer = new Map<string, TokenVerifier>();
  readonly #opaque: TokenVerifier | null;
  readonly #verifiers: readonly TokenVerifier[];

  /** @throws {ConfigError} fewer than two verifiers, or the issuer of a token would not select exactly one. */
  constructor(...verifiers: readonly TokenVerifier[]) {
    if (verifiers.length < 2) throw new ConfigError("anyOf requires at least two verifiers");
    for (const verifier of verifiers) {
      const issuers: unknown = verifier?.issuers;
      if (!Array.isArray(issuers) || issuers.length === 0) {
        throw new ConfigError("cannot use a verifier for any issuer in anyOf; give it an issuer: { issuer: 'https://…' }");
      }
      for (const issuer of issuers as string[]) this.#add(issuer, verifier);
    }
    const [opaque, ...more] = verifiers.filter(isOpaque);
    if (more.length > 0) {
      throw new ConfigError("two verifiers use introspection, and a token without claims does not say which one to ask; use one");
    }
    this.#opaque = opaque ?? null;
    this.#verifiers = verifiers;
  }

  /** Select a verifier for an issuer. Introspection can share one: it gets the tokens that do not name it. */
  #add(issuer: string, verifier: TokenVerifier): void {
    const other = this.#byIssuer.get(issuer);
    if (other !== undefined && isOpaque(verifier) === isOpaque(other)) {
      throw new ConfigError(`two verifiers are for the issuer ${printable(issuer)}; use one of them`);
    }
    if (other === undefined || isOpaque(other)) this.#byIssuer.set(issuer, verifier);
  }

  get issuers(): readonly string[] {
    return [...this.#byIssuer.keys()];
  }

  get maxToken(): number {
    return Math.max(...this.#verifiers.map((verifier) => verifier.maxToken));
  }

  get warnings(): readonly string[] {
    return this.#verifiers.flatMap((verifier) => verifier.warnings ?? []);
  }

  get requiresSubject(): boolean {
    return this.#verifiers.every((verifier) => verifier.requiresSubject);
  }

  get longestLifetime(): number | null {
    const longest = Math.max(...this.#verifiers.map((verifier) => verifier.longestLifetime ?? Infinity));
    return longest === Infinity ? null : longest;
  }

  /**
   * Verify a token with the verifier of its issuer.
   *
   * @throws {TokenError} no verifier is for its issuer, or that verifier rejects the token.
   * @throws {Unavailable} as {@link Verifier.verify}.
   */
  verify(token: unknown, now?: number, source?: string, provedKey?: string | null): Identity {
    const isOpaqueToken = this.#opaque !== null && typeof token === "string" && token.split(".").length !== 3;
    const chosen = isOpaqueToken ? (this.#opaque as TokenVerifier) : this.#verifierOf(claimedIssuer(token, this.maxToken));
    return chosen.verify(token, now, source, provedKey);
  }

  identify(claims: Claims, now: number, source?: string, provedKey?: string | null): Identity {
    return this.#verifierOf(Object.hasOwn(claims, "iss") ? claims.iss : undefined).identify(claims, now, source, provedKey);
  }

  /** Verify a document that one of the issuers has signed, and that is not a token. */
  verifyDocument(document: unknown, type: string, now?: number): Claims {
    const chosen = this.#verifierOf(claimedIssuer(document, Infinity));
    if (chosen.verifyDocument === undefined) throw new UnknownKey("this issuer's verifier has no keys");
    return chosen.verifyDocument(document, type, now);
  }

  #verifierOf(issuer: unknown): TokenVerifier {
    const found = typeof issuer === "string" ? this.#byIssuer.get(issuer) : undefined;
    if (found === undefined) throw new UnknownKey(`no verifier is for the issuer ${printable(issuer)}`);
    return found;
  }
}

function isOpaque(verifier: TokenVerifier): boolean {
  return verifier.acceptsOpaque === true;
}

/** The `iss` of a token that is not verified. */
function claimedIssuer(token: unknown, maxToken: number): unknown {
  const parts = typeof token === "string" && token.length <= maxToken ? token.split(".", 4) : [];
  // eslint-disable-next-line no-control-regex
  if (parts[1] === undefined || parts.length !== 3 || !/^[\0-\x7f]*$/.test(token as string)) {
    split(parseHeader, token, maxToken); // throws the error that any verifier would
    throw new MalformedToken("not three parts", { message: "jwt malformed" });
  }
  const claims = jsonObject(decodePart(parts[1]), "payload");
  return Object.hasOwn(claims, "iss") ? claims.iss : undefined;
}
