/** Reports refused tokens and connections: to the audit log, and to the application. */

import { type Log, safely } from "../core/calls.js";
import type { Credential } from "../core/credentials.js";
import type { Identity } from "../core/identity.js";
import { type AuthError, ClaimError } from "../errors.js";
import { type Audited, type WriteLine, record, tokenHash, withoutSecrets } from "./audit.js";

export type Refused = (error: AuthError, address: string) => unknown;

/** The parts of a socket that a line of the log names. */
export interface RefusedSocket extends Audited {
  readonly identity: Identity | null;
}

export class Refusals {
  readonly callbacks: Refused[] = [];

  constructor(
    private readonly audit: WriteLine | null,
    private readonly log: Log,
  ) {}

  /** Write a line to the audit log, and call the callbacks. */
  report(error: AuthError, address: string, socket?: RefusedSocket, presented?: Credential | null): void {
    if (this.audit !== null) {
      record(this.audit, "refused", {
        code: error.code,
        reason: error.reason,
        claim: error instanceof ClaimError ? error.claim : null,
        check: withoutSecrets(error.detail),
        namespace: socket?.namespace,
        sub: socket?.identity?.subject,
        token: socket?.tokenName ?? (presented ? tokenHash(presented.token) : null),
        address,
      });
    }
    for (const callback of this.callbacks) safely(this.log, "onRefused", () => callback(error, address));
  }
}
