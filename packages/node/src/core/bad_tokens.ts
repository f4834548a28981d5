/**
 * The limit of rejected tokens per address. It has no clock: the caller passes the time.
 *
 * Only tokens that were never valid here count: malformed ones, and those with a wrong signature, key, issuer or audience.
 * The limit decides about rejected tokens alone. A valid token is accepted from every address: otherwise anybody could lock
 * out the users behind the same address.
 */

import { type AuthError, ClaimError, RevokedToken, SubjectMismatch, TokenError } from "../errors.js";
import { setLatest } from "./latest.js";
import { networkOf } from "./networks.js";
import { TokenBucket } from "./rate.js";

/** The greatest number of addresses. Above it, the address that was seen the longest time ago is forgotten. */
export const MAX_ADDRESSES = 50_000;

const MINUTE = 60;
const TIMES: ReadonlySet<string> = new Set(["exp", "nbf", "iat", "auth_time"]);

/** True if a token was rejected because it was never valid here, and not because of its time. */
export function countsAsBad(error: AuthError): boolean {
  if (error instanceof ClaimError) return !TIMES.has(error.claim) && !(error instanceof SubjectMismatch);
  return error instanceof TokenError && !(error instanceof RevokedToken);
}

/** Whether a rejected token is within the limit of its address, and if not, whether it is the minute's first. */
export type Verdict = "within" | "first over" | "over";

/** The tokens that an address can still present. Its rate is per minute, and so is its time. */
interface Address {
  readonly bucket: TokenBucket;
  /** When it was last reported to be over the limit. */
  reported: number;
}

/** Counts the rejected tokens of each address. Times are seconds on a monotonic clock. */
export class BadTokens {
  readonly #addresses = new Map<string, Address>();

  /** @param perMinute how many tokens of one address can be rejected per minute; as many at one moment. */
  constructor(
    readonly perMinute: number,
    private readonly maxAddresses = MAX_ADDRESSES,
  ) {}

  get size(): number {
    return this.#addresses.size;
  }

  /** Count a rejected token of an address, unless it is over the limit. */
  count(address: string, now: number): Verdict {
    const minute = now / MINUTE;
    const found = this.#of(networkOf(address), minute);
    if (found.bucket.takeIfAny(minute)) return "within";
    if (minute - found.reported < 1) return "over";
    found.reported = minute;
    return "first over";
  }

  #of(network: string, now: number): Address {
    const found = this.#addresses.get(network) ?? { bucket: new TokenBucket(this.perMinute, now), reported: -Infinity };
    setLatest(this.#addresses, network, found, this.maxAddresses);
    return found;
  }
}
