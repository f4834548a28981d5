/** Rights that changed after tokens were issued: they override those in older tokens. */

import { type Identity, isGuest, withRights } from "./identity.js";

/** Subjects with changed rights; beyond that, the oldest change is dropped. */
const MAX_CHANGES = 1_000_000;

export interface Rights {
  roles?: readonly string[];
  rooms?: unknown;
}

/** The rights that a subject's older tokens have instead of their own; what is missing is the token's. */
export interface Change {
  readonly roles: readonly string[] | null;
  readonly rolesAt: number;
  readonly rooms: unknown;
  readonly roomsAt: number;
}

const NONE: Change = { roles: null, rolesAt: 0, rooms: undefined, roomsAt: 0 };

/** The latest change of each subject's rights, in memory. */
export class RightsOverrides {
  readonly #changes = new Map<string, Change>();

  /** Read tokens of a subject that were issued up to a time with other roles or rooms. */
  change(subject: string, { roles, rooms }: Rights, at: number): void {
    const before = this.#changes.get(subject) ?? NONE;
    this.#changes.delete(subject); // the latest is the last
    this.#changes.set(subject, {
      ...before,
      ...(roles === undefined ? {} : { roles: [...roles], rolesAt: at }),
      ...(rooms === undefined ? {} : { rooms, roomsAt: at }),
    });
    for (const [oldest] of this.#changes) {
      if (this.#changes.size <= MAX_CHANGES) break;
      this.#changes.delete(oldest);
    }
  }

  /** The latest change of a subject. A decision that has waited compares it with the one from before. */
  latest(subject: string): Change | undefined {
    return this.#changes.size === 0 ? undefined : this.#changes.get(subject);
  }

  /** The identity with what was changed since its token was issued. A token without `iat` is older than all changes. */
  apply(who: Identity, now: number): Identity {
    const change = this.latest(who.subject);
    if (change === undefined || isGuest(who)) return who;
    // Whole seconds: a token of the same second as the change is an older one.
    const issuedAt = Math.floor(Math.min(who.issuedAt ?? 0, now));
    const roles = change.roles !== null && issuedAt <= Math.floor(change.rolesAt) ? { roles: change.roles } : {};
    const rooms = change.rooms !== undefined && issuedAt <= Math.floor(change.roomsAt) ? { rooms: change.rooms } : {};
    return withRights(who, { ...roles, ...rooms });
  }
}
