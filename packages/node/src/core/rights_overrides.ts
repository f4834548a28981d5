/** Rights that changed after tokens were issued: they override those in older tokens. */

import { type Identity, isGuest, withRights } from "./identity.js";
import { setLatest } from "./latest.js";

/** Subjects with changed rights; beyond that, the oldest change is dropped. */
const MAX_CHANGES = 1_000_000;

/** The order of changes of one subject: microseconds since the epoch, and the name of the process that made it. */
export type Version = readonly [at: number, sender: string];

export function isVersion(value: unknown): value is Version {
  if (!Array.isArray(value) || value.length !== 2) return false;
  const [at, sender] = value as unknown[];
  return Number.isSafeInteger(at) && (at as number) >= 0 && typeof sender === "string";
}

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
  readonly rolesVersion: Version | null;
  readonly roomsVersion: Version | null;
}

const NONE: Change = { roles: null, rolesAt: 0, rooms: undefined, roomsAt: 0, rolesVersion: null, roomsVersion: null };

/** The latest change of each subject's rights, in memory. */
export class RightsOverrides {
  readonly #changes = new Map<string, Change>();

  /**
   * Read tokens of a subject that were issued up to a time with other roles or rooms.
   *
   * @param version does not replace a later one, however late it arrives; null: the last one applies.
   */
  change(subject: string, rights: Rights, at: number, version: Version | null = null): void {
    const before = this.#changes.get(subject) ?? NONE;
    const roles = isOlder(version, before.rolesVersion) ? undefined : rights.roles;
    const rooms = isOlder(version, before.roomsVersion) ? undefined : rights.rooms;
    if (roles === undefined && rooms === undefined) return;
    const change = {
      ...before,
      ...(roles === undefined ? {} : { roles: [...roles], rolesAt: at, rolesVersion: version }),
      ...(rooms === undefined ? {} : { rooms, roomsAt: at, roomsVersion: version }),
    };
    setLatest(this.#changes, subject, change, MAX_CHANGES);
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

function isOlder(version: Version | null, known: Version | null): boolean {
  if (version === null || known === null) return false;
  return version[0] !== known[0] ? version[0] < known[0] : Buffer.compare(Buffer.from(version[1]), Buffer.from(known[1])) < 0;
}
