/** Verification of tokens: the result is an identity, or exactly one error. */

import { BadSignature, ClaimError, ConfigError, MalformedToken, UnknownKey } from "../errors.js";
import { checkAlgorithms } from "./algorithms.js";
import { AnyOf, type TokenVerifier } from "./any_of.js";
import { type Claims, type ExactClaims, Expected, checkName, exactClaims, oneOrMore } from "./claims.js";
import { type ClaimsMap, type ClaimsMapOption, mapOf } from "./claims_map.js";
import { checkBinding } from "./dpop.js";
import { type Identity, fromClaims } from "./identity.js";
import {
  type Header,
  type Parts,
  MAX_TOKEN,
  checkMaxToken,
  checkSignature,
  checkTolerated,
  documentHeaderParser,
  headerParser,
  jsonObject,
  parseHeader,
  split,
} from "./jws.js";
import { type KeySource, type Keys, isRemote, issuerMap, keySource, knownKeys, lookUp } from "./key_sources.js";
import { KeySet } from "./key_set.js";
import { Key } from "./keys.js";
import { isName } from "./names.js";
import { checkNames } from "./options.js";
import { presetUnder } from "./presets.js";
import { printable } from "./printable.js";
import { previousSecret, shortSecretWarning } from "./secrets.js";
import { isAddress } from "./weak_keys.js";

const TOKEN_TYPES = ["JWT", "at+jwt"];
/** Bytes of a document that is not a token. */
const MAX_DOCUMENT = 8 * 1024 * 1024;


export interface VerifierOptions {
  /** The accepted `iss`, one or several; any if omitted. Several need one key, or keys by issuer. */
  issuer?: string | readonly string[] | null;
  /** The accepted `aud`, one or several. If omitted, only tokens without `aud` are accepted. */
  audience?: string | readonly string[] | null;
  /** Seconds of clock difference to forgive. Default: 30. */
  leeway?: number;
  /** Claims that must be present. `sub` is the subject, wherever it is. Default: `exp` and `sub`. */
  require?: string | readonly string[];
  /** The longest accepted `exp - iat` in seconds. Default: no bound. */
  maxLifetime?: number | null;
  /** The longest accepted time since `iat` in seconds. Default: no bound. */
  maxAge?: number | null;
  /** Requires this `typ`: `at+jwt` for an access token (RFC 9068 section 4). Default: either or none. */
  tokenType?: "JWT" | "at+jwt" | null;
  /** Further claims and the exact value that each must have, or several; null among them accepts tokens without it. */
  claims?: ExactClaims;
  /** Where the tokens have the subject, audience, session, roles, rooms and scopes, if not in the registered claims. */
  claimsMap?: ClaimsMapOption | null;
  /** Also accept a whole number as the subject: 7 becomes "7". Default: false. */
  integerSubject?: boolean;
  /** The name of a common issuer, such as `keycloak`, for its settings. Other options win over it. */
  preset?: string | null;
  /** The longest token, in bytes, at most 65536. Default: 8192. */
  maxToken?: number;
  /**
   * Header members to ignore, of `jku`, `x5u` and `x5c`, for an issuer that sends them. By default, tokens with these
   * members are rejected. In no case are they followed.
   */
  tolerateHeader?: readonly string[];
  /** Begins the subject of every identity, so that issuers cannot have users of the same name. Default: nothing. */
  subjectPrefix?: string;
}

const OPTIONS: Readonly<Record<keyof VerifierOptions | "algorithms", true>> = {
  algorithms: true,
  issuer: true,
  audience: true,
  leeway: true,
  require: true,
  maxLifetime: true,
  maxAge: true,
  tokenType: true,
  claims: true,
  claimsMap: true,
  integerSubject: true,
  preset: true,
  maxToken: true,
  tolerateHeader: true,
  subjectPrefix: true,
};

export interface SecretOptions extends VerifierOptions {
  /** The name of the key in the tokens' headers, where they carry one of their own. */
  kid?: string | undefined;
  /** The secret before this one, and the time in seconds since the epoch from which its tokens are rejected. */
  previous?: readonly [string | Uint8Array, number] | undefined;
  /**
   * Accept a secret of any length, while you replace it. With `previous`, this is the previous secret; the current one must
   * be long. Each guard logs a warning.
   */
  insecureShortSecret?: boolean | undefined;
}

/** Decides whether a token is acceptable. It does no I/O, keeps no state and reads no clock. */
export class Verifier {
  readonly algorithms: readonly string[];
  readonly maxToken: number;
  readonly #keys: KeySource | ReadonlyMap<string, KeySource>;
  readonly #parseHeader: (part: string) => Header;
  readonly #prefix: string;
  readonly #expected: Expected;
  readonly #map: ClaimsMap | null;
  readonly #tokenType: string | null;
  #previous: { keys: KeySet; until: number } | null = null;
  #warnings: readonly string[] = [];

  /**
   * @param keys the trusted keys. For several issuers, an object or a map from each `iss` to that issuer's keys: a key
   *   verifies the tokens of its own issuer only.
   * @throws {ConfigError} settings under which it could accept what it should not, or nothing at all.
   */
  constructor(
    keys: Keys | ReadonlyMap<string, Keys> | Readonly<Record<string, Keys>>,
    options: VerifierOptions & { algorithms: readonly string[] },
  ) {
    checkNames(options, OPTIONS);
    const issuers = oneOrMore(options.issuer, "issuer");
    const byIssuer = issuerMap(keys);
    this.maxToken = options.maxToken === undefined ? MAX_TOKEN : checkMaxToken(options.maxToken);
    const tolerated = checkTolerated(options.tolerateHeader ?? []);
    this.#parseHeader = tolerated.length > 0 ? headerParser(tolerated) : parseHeader;
    this.#prefix = checkPrefix(options.subjectPrefix ?? "");
    if (byIssuer) {
      if (issuers.length > 0) throw new ConfigError("cannot use issuer with keys by issuer; remove issuer");
      this.#keys = byIssuer;
    } else {
      this.#keys = keySource(keys as Keys);
      if (issuers.length > 1 && !(this.#keys instanceof KeySet && this.#keys.keys.length === 1)) {
        throw new ConfigError(
          "cannot tell which keys belong to which issuer; pass the keys of each: new Verifier({'https://a.example': keysOfA, …})",
        );
      }
    }
    this.algorithms = checkAlgorithms(options.algorithms);
    for (const source of byIssuer ? byIssuer.values() : [this.#keys]) this.#checkUsable(source);
    this.#tokenType = checkTokenType(options.tokenType ?? null);
    const { audience, require, claims, claimsMap, integerSubject } = options;
    const chosen = presetUnder(options.preset ?? null, { audience, require, claims, claimsMap, integerSubject });
    const audiences = oneOrMore(chosen.audience, "audience");
    this.#expected = new Expected({
      issuers: byIssuer ? [...byIssuer.keys()] : issuers,
      audiences,
      leeway: options.leeway ?? 30,
      require: required(chosen.require),
      maxLifetime: options.maxLifetime ?? null,
      maxAge: options.maxAge ?? null,
      claims: exactClaims(chosen.claims ?? {}),
    });
    this.#map = mapOf(chosen.claimsMap ?? {}, chosen.integerSubject ?? false, audiences);
  }

  /**
   * A verifier for tokens signed with HS256 and a shared secret.
   *
   * @param secret at least 32 bytes.
   * @throws {ConfigError} a short or placeholder secret, the same secret twice, or settings that do not fit.
   */
  static hs256(secret: string | Uint8Array, options: SecretOptions = {}): Verifier {
    return Verifier.#hmac("HS256", secret, options);
  }

  /** As {@link Verifier.hs256}, with HS384 and a secret of at least 48 bytes. */
  static hs384(secret: string | Uint8Array, options: SecretOptions = {}): Verifier {
    return Verifier.#hmac("HS384", secret, options);
  }

  /** As {@link Verifier.hs256}, with HS512 and a secret of at least 64 bytes. */
  static hs512(secret: string | Uint8Array, options: SecretOptions = {}): Verifier {
    return Verifier.#hmac("HS512", secret, options);
  }

  /**
   * A verifier for tokens signed with a key pair.
   *
   * @param publicKey PEM.
   * @throws {ConfigError} not a PEM key, or not one for these algorithms.
   */
  static pem(
    publicKey: string | Uint8Array,
    { kid, ...options }: VerifierOptions & { algorithms: readonly string[]; kid?: string | undefined },
  ): Verifier {
    const algorithms = checkAlgorithms(options.algorithms);
    if (typeof publicKey === "string" && isAddress(publicKey)) {
      throw new ConfigError("Verifier.pem requires the text of a PEM file; download the key first");
    }
    return new Verifier(Key.fromPem(publicKey, { kid, algorithms }), { ...options, algorithms });
  }

  /**
   * A verifier for tokens signed with a key of a JWK Set. A bad key in it is left out; the others stay.
   *
   * @param jwks an object with a list `keys`, as `/.well-known/jwks.json` has it.
   * @throws {ConfigError} not a JWK Set, or no usable key in it.
   */
  static jwks(jwks: unknown, options: VerifierOptions & { algorithms: readonly string[] }): Verifier {
    if (typeof jwks === "string" || jwks instanceof URL) {
      throw new ConfigError("Verifier.jwks requires a JWK Set; for one at a URL, use Verifier.remote");
    }
    return new Verifier(KeySet.fromJwks(jwks), options);
  }

  /**
   * A verifier for the tokens of several issuers, each with its own keys and settings. The claim `iss` of a token selects
   * the verifier before a key is tried. One of them can be that of `Verifier.introspection`: it gets the tokens that are
   * not JSON Web Tokens.
   *
   * @throws {ConfigError} fewer than two verifiers, two for the same issuer, or one for any issuer.
   */
  static anyOf(...verifiers: readonly TokenVerifier[]): AnyOf {
    return new AnyOf(...verifiers);
  }

  static #hmac(
    algorithm: string,
    secret: string | Uint8Array,
    { kid, previous, insecureShortSecret = false, ...options }: SecretOptions,
  ): Verifier {
    if (typeof insecureShortSecret !== "boolean") throw new ConfigError("insecureShortSecret must be true or false");
    const make = (given: string | Uint8Array, anyLength: boolean) =>
      anyLength ? Key.fromShortSecret(given, algorithm, kid) : Key.fromSecret(given, algorithm, { kid });
    const key = make(secret, insecureShortSecret && previous === undefined);
    const made = new Verifier(key, { ...options, algorithms: [algorithm] });
    if (previous !== undefined) made.#previous = previousSecret(key, previous, (old) => make(old, insecureShortSecret));
    made.#warnings =
      previous === undefined
        ? shortSecretWarning(secret, algorithm, "the secret")
        : shortSecretWarning(previous[0], algorithm, "the previous secret");
    return made;
  }

  /** What is insecure about the settings, without secrets. Guards log it. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /** The accepted values of `iss`; empty if any is accepted. */
  get issuers(): readonly string[] {
    return this.#expected.options.issuers;
  }

  /** True if every token that it accepts says whose it is. */
  get requiresSubject(): boolean {
    return this.#expected.options.require.includes("sub");
  }

  /** The longest time in seconds that an accepted token may live, or null if the settings do not bound it. */
  get longestLifetime(): number | null {
    const { maxLifetime, maxAge } = this.#expected.options;
    const bound = Math.min(maxLifetime ?? Infinity, maxAge ?? Infinity);
    return bound === Infinity ? null : bound;
  }

  /**
   * Decide on one token.
   *
   * @param token what was presented; anything but a well-formed string is rejected.
   * @param now seconds since the epoch. Default: the system's clock.
   * @param source where it was presented, kept on the identity.
   * @param provedKey the thumbprint of the key whose possession the client proved for this token; null rejects tokens that
   *   are bound to a key.
   * @throws {TokenError} the first check that fails; `error.detail` says what was found and by how much.
   * @throws {Unavailable} the keys are those of another server, and the token's key is not known yet: see `verifyWaiting`.
   */
  verify(token: unknown, now: number = Date.now() / 1000, source = "", provedKey: string | null = null): Identity {
    const parts = split(this.#parseHeader, token, this.maxToken);
    const identify = (): Identity => this.identify(jsonObject(parts.payload, "payload"), now, source, provedKey);
    this.#checkSignature(parts, now, identify);
    this.#checkType(parts.header.type);
    return identify();
  }

  /**
   * Check the claims of a token whose signature is already verified.
   *
   * @param claims the payload, which the identity keeps.
   * @throws {ClaimError} the first check that fails.
   */
  identify(claims: Claims, now: number, source = "", provedKey: string | null = null): Identity {
    const who = this.#identify(claims, now, source);
    checkBinding(claims, provedKey);
    if (!this.#prefix || !who.subject) return who;
    const subject = this.#prefix + who.subject;
    checkName("sub", subject); // nobody could revoke the tokens of a longer one
    return { ...who, subject };
  }

  #identify(claims: Claims, now: number, source: string): Identity {
    if (this.#map === null) {
      this.#expected.check(claims, now);
      return fromClaims(claims, source);
    }
    const standard = this.#map.standard(claims);
    try {
      this.#expected.check(standard, now, claims);
    } catch (error) {
      throw error instanceof ClaimError ? this.#map.located(error) : error;
    }
    // The token is for those whom it names there, and no others.
    if (this.#map.movesAudience && Object.hasOwn(claims, "aud")) this.#expected.checkAudience(claims.aud);
    return fromClaims(standard, source, claims);
  }

  /**
   * Verify a document that the issuer of the tokens has signed, and that is not a token itself.
   *
   * @param type its `typ`.
   * @param now seconds since the epoch. Default: the system's clock.
   * @returns its members.
   * @throws {TokenError} it has another type, another issuer or a wrong signature, or it has expired.
   */
  verifyDocument(document: unknown, type: string, now: number = Date.now() / 1000): Claims {
    const parts = split(documentHeaderParser(type), document, MAX_DOCUMENT);
    if (parts.header.type !== type) throw new MalformedToken(`the document has no typ ${type}`);
    const checked = (): Claims => {
      const members: Claims = jsonObject(parts.payload, "document");
      this.#expected.checkDocument(members, now);
      return members;
    };
    this.#checkSignature(parts, now, checked);
    return checked();
  }

  #checkUsable(source: unknown): void {
    if (source instanceof KeySet && !source.keys.some((key) => key.algorithms.some((name) => this.algorithms.includes(name)))) {
      throw new ConfigError(`no key is usable with ${this.algorithms.join(", ")}`);
    }
  }

  /** @param check checks everything else. Only tokens that would be accepted otherwise make this process ask for keys. */
  #checkSignature(parts: Parts, now: number, check: () => unknown): void {
    const source = this.#sourceOf(parts);
    const known = knownKeys(source, now, check);
    try {
      checkSignature(parts, known, this.algorithms);
    } catch (error) {
      if (!(error instanceof BadSignature || error instanceof UnknownKey)) throw error;
      if (this.#isSignedWithPrevious(parts, now)) return;
      if (isRemote(source)) lookUp(source, parts.header.kid, now, check);
      throw error;
    }
  }

  #isSignedWithPrevious(parts: Parts, now: number): boolean {
    if (this.#previous === null || !(now < this.#previous.until)) return false;
    try {
      checkSignature(parts, this.#previous.keys, this.algorithms);
      return true;
    } catch {
      return false;
    }
  }

  #sourceOf(parts: Parts): KeySource {
    const keys = this.#keys;
    if (!(keys instanceof Map)) return keys as KeySource;
    // The claim only chooses among the keys, as `kid` does; it is believed after the signature is verified.
    const claims = jsonObject(parts.payload, "payload");
    const issuer = Object.hasOwn(claims, "iss") ? claims.iss : undefined;
    const found = typeof issuer === "string" ? (keys as ReadonlyMap<string, KeySource>).get(issuer) : undefined;
    if (found === undefined) throw new UnknownKey(`no key of the issuer ${printable(issuer)}`);
    return found;
  }

  #checkType(found: string | null): void {
    if (this.#tokenType === null) return;
    if (found?.replace(/^application\//, "") !== this.#tokenType.toLowerCase()) {
      throw new MalformedToken(`typ is ${found}, expected ${this.#tokenType}`);
    }
  }
}

function checkTokenType(value: string | null): string | null {
  if (value !== null && !TOKEN_TYPES.includes(value)) throw new ConfigError(`tokenType is one of ${TOKEN_TYPES.join(", ")}`);
  return value;
}

function required(require: unknown): readonly string[] {
  if (require === undefined || require === null) return ["exp", "sub"];
  return Array.isArray(require) && require.length === 0 ? [] : oneOrMore(require, "require");
}

function checkPrefix(prefix: unknown): string {
  if (prefix !== "" && !isName(prefix)) throw new ConfigError("subjectPrefix must be a name, such as 'sso:'");
  return prefix;
}
