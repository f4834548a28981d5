/** DPoP proofs that clients present to a guard: their check, and their single use. */

import type { Credential } from "../core/credentials.js";
import { type DPoP, type Proof, checkProof } from "../core/dpop.js";
import type { Identity } from "../core/identity.js";
import { UsedProofs } from "../core/used_proofs.js";
import { monotonic } from "./clock.js";

export class Proofs {
  readonly #used: UsedProofs | null;

  /** @param settings null ignores proofs, so that tokens that are bound to a key are rejected. */
  constructor(private readonly settings: DPoP | null) {
    this.#used = settings === null ? null : new UsedProofs(settings);
  }

  /** True if sockets require a token that is bound to a key. */
  get required(): boolean {
    return this.settings?.required ?? false;
  }

  /** Verify the proof next to a token; null if there is none. */
  check({ token, proof }: Credential, now: number): Proof | null {
    if (this.settings === null || proof === undefined) return null;
    return checkProof(this.settings, proof, token, now);
  }

  /**
   * Check that a proof can be used, after everything else about its token was verified.
   *
   * @param consume count it as used.
   */
  use(proof: Proof, who: Identity, consume: boolean): void {
    if (consume) this.#used?.use(proof, who, monotonic());
    else this.#used?.check(proof, who, monotonic());
  }
}
