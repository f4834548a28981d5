/** Decisions about tokens and identities, independent of connections. */

import { type Log, isThenable } from "../core/calls.js";
import type { Claims } from "../core/claims.js";
import type { Credential } from "../core/credentials.js";
import { type Proof, checkBinding, isSameKey, keyOf } from "../core/dpop.js";
import { GUEST, type Identity, isGuest } from "../core/identity.js";
import { CLOSED, OPEN, type BoundRule, type Policy, type RuleSet } from "../core/policy.js";
import { printable } from "../core/printable.js";
import type { Revocations } from "../core/revocations.js";
import { RightsOverrides } from "../core/rights_overrides.js";
import {
  AuthError,
  ClaimError,
  ExpiredToken,
  InvalidProof,
  MalformedToken,
  MissingClaim,
  PermissionDenied,
  ReauthenticationRequired,
  RevokedToken,
  SubjectMismatch,
  Unavailable,
} from "../errors.js";
import { verifyWaiting } from "../keysets/waiting.js";
import type { Clock } from "./clock.js";
import type { Proofs } from "./proofs.js";

/**
 * What a guard needs of a verifier; one that has to fetch keys returns a promise. `provedKey` is the thumbprint of the key
 * whose possession the client proved; null without a proof.
 */
export interface AnyVerifier {
  verify(token: unknown, now: number, source: string, provedKey: string | null): Identity | Promise<Identity>;
  readonly longestLifetime?: number | null;
  /** The longest token that it accepts, in bytes. */
  readonly maxToken?: number;
}

export const KINDS = ["namespace", "room", "emit", "event"] as const;
export type DecisionKind = (typeof KINDS)[number];

/** The decision about one request, and its reason. Print it to see why. */
export class Decision {
  constructor(
    readonly kind: DecisionKind,
    /** Of the namespace, room or event. */
    readonly name: string,
    /** The identity that the rules were given. */
    readonly who: Identity,
    /** The rule that decided, as the policy's author wrote it; null if no rule matches and the default applies. */
    readonly rule: string | null,
    /** Why it is denied; null if it is allowed. */
    readonly error: AuthError | null,
  ) {}

  get allowed(): boolean {
    return this.error === null;
  }

  toString(): string {
    const { kind, name, who, rule, error } = this;
    const verdict = error === null ? "allowed" : `denied (${error.detail})`;
    let by = rule === null ? "" : ` by the rule for ${rule}`;
    if (rule === null && (error === null || error instanceof PermissionDenied)) by = " by the default, since no rule is about it";
    const holder = isGuest(who) ? "a guest" : `subject ${printable(who.subject)}`;
    const roles = [...who.roles].sort().join(", ") || "none";
    return `${kind} ${printable(name)}: ${verdict}${by}; ${holder}, roles: ${roles}, rooms: ${who.rooms.join(", ") || "none"}`;
  }
}

type MaybePromise<T> = T | Promise<T>;

/** Whether the rules allow, and which of them decided. */
interface Answer {
  allowed: boolean;
  rule: string | null;
}

export interface AuthorizerOptions {
  clock: Clock;
  log: Log;
  /** Seconds after `exp` in which a connected socket stays. */
  grace: number;
  /** Seconds for one decision; a verifier or a rule that takes longer refuses. */
  within: number;
  /** Checks DPoP proofs. */
  proofs: Proofs;
  /** Whether revocations made elsewhere are unknown for too long. */
  isStale: () => boolean;
}

/** One decision path: verify, not revoked, may connect; then the policy for every room and event. */
export class Authorizer {
  readonly changed = new RightsOverrides();
  /** A token without `iat` was accepted: nobody knows whether such a token is older than a revocation. */
  hasUndated = false;

  constructor(
    private readonly verifier: AnyVerifier,
    readonly policy: Policy,
    private readonly revocations: Revocations,
    readonly options: AuthorizerOptions,
  ) {}

  now(): number {
    return this.options.clock();
  }

  /**
   * From what was presented (null for a guest) to who may connect to a namespace.
   *
   * @param consume false if the same is decided again later: a DPoP proof is then not counted as used.
   */
  identify(presented: Credential | null, namespace: string, consume = true): MaybePromise<Identity> {
    const who = presented === null ? GUEST : this.verify(presented, consume);
    return isThenable(who) ? who.then((identity) => this.mayConnect(identity, namespace)) : this.mayConnect(who, namespace);
  }

  /** Verify a token and return its identity. Any other failure is {@link Unavailable}. `consume` as above. */
  verify(presented: Credential, consume = true): MaybePromise<Identity> {
    this.#checkRevocationsKnown();
    const proof = this.options.proofs.check(presented, this.now());
    let verified: Identity | PromiseLike<Identity>;
    try {
      verified = this.#verified(presented, proof?.key ?? null);
    } catch (error) {
      throw this.#verifierFailed(error);
    }
    if (!isThenable(verified)) return this.#accept(verified, proof, consume);
    return this.inTime(verified).then(
      (who) => {
        this.#checkRevocationsKnown(); // the verifier has waited
        return this.#accept(who, proof, consume);
      },
      (error: unknown) => {
        throw this.#verifierFailed(error);
      },
    );
  }

  #verifierFailed(error: unknown): AuthError {
    if (error instanceof AuthError) return error;
    this.options.log("the verifier failed, so the token is rejected", error);
    return new Unavailable("the verifier failed");
  }

  /** Check what holds for the tokens of every verifier. */
  #accept(who: Identity, proof: Proof | null, consume: boolean): Identity {
    if (!who.subject) throw new MissingClaim("sub", "the verifier returned no subject");
    checkBinding(who.claims as Claims, proof?.key ?? null); // the application's own verifier may not have
    this.hasUndated ||= who.issuedAt === null;
    this.checkStillValid(who);
    if (proof !== null) this.options.proofs.use(proof, who, consume);
    return who;
  }

  /** Verify a token, and wait only if something has to be fetched first. */
  #verified({ token, source }: Credential, provedKey: string | null): Identity | PromiseLike<Identity> {
    const verify = (): Identity | Promise<Identity> => this.verifier.verify(token, this.now(), source, provedKey);
    try {
      return verify();
    } catch (error) {
      if (error instanceof Unavailable && error.lookup !== null) return verifyWaiting(verify);
      throw error;
    }
  }

  /** Nobody is admitted while too much may have been revoked elsewhere. */
  #checkRevocationsKnown(): void {
    if (this.options.isStale()) throw new Unavailable("the journal of revocations is unavailable");
  }

  /** From whose a token is to who they are now, if they may connect to a namespace. */
  mayConnect(who: Identity, namespace: string): MaybePromise<Identity> {
    if (this.options.proofs.required && !isGuest(who) && keyOf(who) === null) {
      throw new InvalidProof("the token is not bound to a key", { message: "DPoP proof required" });
    }
    const latest = this.changed.latest(who.subject);
    const current = this.withRightsOfNow(who);
    if (this.policy.aboutNamespace(namespace) === OPEN) return current; // most namespaces have no rule
    const finish = ({ error }: Decision): MaybePromise<Identity> => {
      if (error !== null) throw error;
      this.checkStillValid(current); // a rule may have waited
      // Otherwise it was asked about rights that are no more.
      return this.changed.latest(who.subject) === latest ? current : this.mayConnect(who, namespace);
    };
    const decision = this.decide(current, "namespace", namespace, namespace);
    return isThenable(decision) ? decision.then(finish) : finish(decision);
  }

  /** Not revoked, and not so late inside the verifier's leeway that the socket would end immediately. */
  checkStillValid(who: Identity): void {
    if (this.revocations.isRevoked(who)) throw new RevokedToken("revoked");
    if (who.expiresAt !== null && this.now() >= who.expiresAt + this.options.grace) {
      throw new ExpiredToken("exp", "expired, and the grace period is over", { facts: { expired_at: who.expiresAt } });
    }
  }

  /**
   * A connected socket is renewed by a later token of the same subject; a guest by anybody's.
   *
   * @returns false if it is the token that the socket has: not a mistake, since the reply to the first may have been lost.
   */
  checkRefresh(old: Identity, renewed: Identity): boolean {
    if (isGuest(old)) return true;
    if (renewed.subject !== old.subject || renewed.issuer !== old.issuer) {
      throw new SubjectMismatch("a refresh with the token of another subject");
    }
    if (!isSameKey(old, renewed)) {
      throw new ClaimError("cnf", "a refresh with a token that is not bound to the socket's key");
    }
    if (old.expiresAt === null || renewed.expiresAt === null || renewed.expiresAt < old.expiresAt) {
      throw new MalformedToken("a refresh needs a token that does not expire earlier");
    }
    if ((renewed.issuedAt ?? 0) < (old.issuedAt ?? 0)) {
      throw new MalformedToken("a refresh needs a token that was not issued earlier");
    }
    return renewed.tokenId === null || renewed.tokenId !== old.tokenId || renewed.expiresAt !== old.expiresAt;
  }

  /** The identity with what was changed since its token was issued, and the roles that its roles include. */
  withRightsOfNow(who: Identity): Identity {
    return this.policy.expandRoles(this.changed.apply(who, this.now()));
  }

  /**
   * Ask the policy.
   *
   * @param event what is emitted, for the kind `emit`.
   * @param again it was granted before, so that it is not new during the grace period.
   */
  decide(who: Identity, kind: DecisionKind, name: string, namespace: string, event = "", again = false): MaybePromise<Decision> {
    const rules = this.rulesAbout(kind, name, namespace, event);
    const late = again ? null : this.#tooLate(who, kind, rules);
    if (late !== null) return new Decision(kind, name, who, null, late);
    const decided = ({ allowed, rule }: Answer): Decision => {
      const error = allowed ? this.#checkAgain(who, kind, rules, again) : new PermissionDenied(`${kind} not allowed`);
      return new Decision(kind, name, who, rule, error);
    };
    const answer = this.#ask(rules, who, 0);
    return isThenable(answer) ? answer.then(decided) : decided(answer);
  }

  /** Why it is denied although the rules allow it: one of them may have waited. */
  #checkAgain(who: Identity, kind: DecisionKind, rules: RuleSet, again: boolean): AuthError | null {
    if (this.revocations.isRevoked(who)) return new RevokedToken("revoked while it was decided");
    return this.#tooStale(who, rules) ?? (again ? null : this.#tooLate(who, kind, rules));
  }

  /** What the policy says about one thing. */
  rulesAbout(kind: DecisionKind, name: string, namespace: string, event: string): RuleSet {
    switch (kind) {
      case "namespace":
        return this.policy.aboutNamespace(name);
      case "room":
        return this.policy.aboutRoom(name, namespace);
      case "emit":
        return this.policy.aboutEmit(name, event, namespace);
      case "event":
        return this.policy.aboutEvent(name, namespace);
      default:
        return CLOSED;
    }
  }

  /** Wait for a decision, and not for ever. */
  async inTime<T>(decision: T | PromiseLike<T>): Promise<T> {
    if (!isThenable(decision)) return decision;
    const { within } = this.options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Unavailable(`no decision within ${within} s`)), within * 1000);
    });
    try {
      return await Promise.race([decision, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** During the grace period nothing new is granted: what was there goes on. */
  #tooLate(who: Identity, kind: DecisionKind, rules: RuleSet): AuthError | null {
    if (who.expiresAt === null || this.now() < who.expiresAt) return null;
    if (kind !== "room" && rules.rules.every((rule) => rule.maxAuthAge === null)) return null;
    return new ExpiredToken("exp", "expired: refresh the token first", { facts: { expired_at: who.expiresAt } });
  }

  /** The holder authenticated too long ago (OpenID Connect Core section 2, `auth_time`). */
  #tooStale(who: Identity, rules: RuleSet): AuthError | null {
    const limits = rules.rules.flatMap((rule) => (rule.maxAuthAge === null ? [] : [rule.maxAuthAge]));
    if (limits.length === 0) return null;
    const proved = Object.hasOwn(who.claims, "auth_time") ? who.claims.auth_time : who.issuedAt;
    const now = this.now();
    const limit = Math.min(...limits);
    if (typeof proved === "number" && now - limit <= proved && proved <= now + limit) return null;
    return new ReauthenticationRequired(limit, "the holder authenticated too long ago");
  }

  /** Ask the rules from one of them on, without waiting unless one does. */
  #ask({ rules, every, otherwise }: RuleSet, who: Identity, from: number): MaybePromise<Answer> {
    for (const [at, rule] of rules.entries()) {
      if (at < from) continue;
      const answer = this.#allows(rule, who);
      const decisive = { allowed: !every, rule: rule.name };
      if (isThenable(answer)) {
        return answer.then((allowed) => (allowed === every ? this.#ask({ rules, every, otherwise }, who, at + 1) : decisive));
      }
      if (answer !== every) return decisive;
    }
    const last = rules.at(-1);
    return last ? { allowed: every, rule: last.name } : { allowed: otherwise, rule: null };
  }

  /** Ask one rule. Only `true` itself allows; a rule that fails denies. */
  #allows({ name, rule, asked }: BoundRule, who: Identity): MaybePromise<boolean> {
    const read = (answer: unknown): boolean => {
      if (typeof answer !== "boolean") this.options.log(`the rule for ${name} returned ${printable(answer)}, so it denies`);
      return answer === true;
    };
    const failed = (error: unknown): boolean => {
      this.options.log(`the rule for ${name} failed, so it denies`, error);
      return false;
    };
    try {
      const answer: unknown = rule(who, asked);
      return isThenable(answer) ? this.inTime(answer).then(read).catch(failed) : read(answer);
    } catch (error) {
      return failed(error);
    }
  }
}

/** The error to refuse with, whatever went wrong. */
export function asAuthError(error: unknown): AuthError {
  return error instanceof AuthError ? error : new Unavailable(error instanceof Error ? error.name : "failed");
}
