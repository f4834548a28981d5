/**
 * Nonces of a server for DPoP proofs (RFC 9449 section 8), which the server does not have to store: the time at which they
 * were issued, with a MAC. Every node that has the secret accepts them, in Python too.
 */

import { createHmac, timingSafeEqual } from "node:crypto";

import { ConfigError } from "../errors.js";
import { checkSecret } from "./weak_keys.js";

/** Seconds for which a nonce is valid, and by which the clocks of two nodes may differ. */
export const NONCE_SECONDS = 60;

const PURPOSE = "roomkey DPoP nonce";
const TIME_BYTES = 6;
const MAC_BYTES = 18;
const FORM = /^[A-Za-z0-9_-]{32}$/;

/** Issues and checks nonces. */
export class Nonces {
  readonly #secret: Buffer;

  /** @throws {ConfigError} the secret is short or a placeholder. */
  constructor(secret: string | Uint8Array) {
    if (typeof secret !== "string" && !(secret instanceof Uint8Array)) throw new ConfigError("nonceSecret must be a string or bytes");
    this.#secret = Buffer.from(secret);
    checkSecret(this.#secret, "HS256", true);
  }

  /** The nonce of a time, in seconds since the epoch. */
  issue(now: number): string {
    const issued = Buffer.alloc(TIME_BYTES);
    issued.writeUIntBE(Math.floor(now), 0, TIME_BYTES);
    return Buffer.concat([issued, this.#mac(issued)]).toString("base64url");
  }

  /** True if this server issued the nonce, at most {@link NONCE_SECONDS} ago. */
  accepts(nonce: unknown, now: number): boolean {
    if (typeof nonce !== "string" || !FORM.test(nonce)) return false;
    const raw = Buffer.from(nonce, "base64url");
    const issued = raw.subarray(0, TIME_BYTES);
    if (!timingSafeEqual(raw.subarray(TIME_BYTES), this.#mac(issued))) return false;
    return Math.abs(now - issued.readUIntBE(0, TIME_BYTES)) <= NONCE_SECONDS;
  }

  #mac(issued: Buffer): Buffer {
    return createHmac("sha256", this.#secret).update(PURPOSE).update(issued).digest().subarray(0, MAC_BYTES);
  }
}
