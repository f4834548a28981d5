/** The proofs that were used, so that each is used once (RFC 9449 section 11.1). */

import { createHash } from "node:crypto";

import { InvalidProof, LimitExceeded, Unavailable } from "../errors.js";
import { type DPoP, type Proof, WINDOW } from "./dpop.js";
import type { Identity } from "./identity.js";

/** Seconds for which a proof can be valid, counted from its use: its `iat` may be in the future. */
export const LIFETIME = 2 * WINDOW;

interface Use {
  until: number;
  subject: string;
  issuedAt: number;
}

/**
 * Remembers each used proof until it is no longer valid.
 *
 * Only valid proofs of valid tokens count, so that strangers cannot fill it. One subject can fill only its own part. While
 * it is full, new proofs are refused; a proof that is still valid is never forgotten.
 */
export class UsedProofs {
  readonly #uses = new Map<string, Use>(); // the oldest first
  readonly #bySubject = new Map<string, number>();
  /** The newest proof that was forgotten. If the time of day is set back, it seems to be valid again. */
  #newestForgotten = -Infinity;

  constructor(private readonly settings: DPoP) {}

  get size(): number {
    return this.#uses.size;
  }

  /**
   * Check that a proof can be used.
   *
   * @param who the identity of its token.
   * @param monotonic seconds on a monotonic clock.
   * @throws {InvalidProof} it was used before, or may have been.
   * @throws {LimitExceeded} too many proofs of the subject are in use.
   * @throws {Unavailable} too many proofs are in use.
   */
  check(proof: Proof, who: Identity, monotonic: number): void {
    this.#forgetExpired(monotonic);
    if (this.#uses.has(nameOf(proof)) || proof.issuedAt <= this.#newestForgotten) {
      throw new InvalidProof("DPoP proof: it was used before; create one for each CONNECT and each authenticate");
    }
    const { maxProofs, maxProofsPerSubject } = this.settings;
    if ((this.#bySubject.get(subjectOf(who)) ?? 0) >= maxProofsPerSubject) {
      throw new LimitExceeded("proofs", `${maxProofsPerSubject} DPoP proofs of one subject within ${LIFETIME} s`);
    }
    if (this.#uses.size >= maxProofs) throw new Unavailable(`${maxProofs} DPoP proofs within ${LIFETIME} s`);
  }

  /** Count a proof as used, after the same checks. */
  use(proof: Proof, who: Identity, monotonic: number): void {
    this.check(proof, who, monotonic);
    const subject = subjectOf(who);
    this.#uses.set(nameOf(proof), { until: monotonic + LIFETIME, subject, issuedAt: proof.issuedAt });
    this.#bySubject.set(subject, (this.#bySubject.get(subject) ?? 0) + 1);
  }

  #forgetExpired(monotonic: number): void {
    for (const [name, { until, subject, issuedAt }] of this.#uses) {
      if (until >= monotonic) return;
      this.#uses.delete(name);
      this.#newestForgotten = Math.max(this.#newestForgotten, issuedAt);
      const count = (this.#bySubject.get(subject) ?? 0) - 1;
      if (count > 0) this.#bySubject.set(subject, count);
      else this.#bySubject.delete(subject);
    }
  }
}

/** A key signs with its own IDs: another client cannot use up this one's. */
function nameOf({ key, id }: Proof): string {
  return createHash("sha256").update(`${key} ${id}`).digest("base64url");
}

function subjectOf(who: Identity): string {
  return JSON.stringify([who.issuer, who.subject]);
}
