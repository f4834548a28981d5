/** What a guard does with the entries of a journal, wherever it reads them. */

import { isName } from "../core/names.js";
import type { Revocation } from "../core/revocations.js";
import { type Version, isVersion } from "../core/rights_overrides.js";
import { isObject } from "../core/strict_json.js";

/** Changed rights of a subject, as the journal has them. */
export interface ChangedRights {
  name: string;
  issuedBefore: number;
  rights: { roles?: readonly string[]; rooms?: unknown };
  /** The order among the changes of this subject; null if the last one applies. */
  version: Version | null;
}

/** A call of `disconnect` for a subject. */
export interface SubjectDisconnect {
  name: string;
  /** When, in seconds since the epoch. */
  at: number;
  expiresAt: number;
}

export interface JournalTarget {
  revoked(entry: Revocation): void;
  rightsChanged(entry: ChangedRights): void;
  disconnected(entry: SubjectDisconnect): void;
  failed(message: string, error: unknown): void;
}

/** Where a guard reads revocations. */
export interface RevocationSource {
  /** True if too much may have been revoked since it was last read. */
  readonly isStale: boolean;
  start(): void;
  close(): void;
}

const KINDS = new Set(["token", "session", "subject"]);

/** Apply one entry, unless it is of another kind. `version` is that of a change of rights. */
export function applyEntry(entry: unknown, target: JournalTarget): void {
  if (!isObject(entry) || !isName(entry.name)) return; // no valid token has such a name
  const { kind, name, issuer = null, issued_before: issuedBefore, expires_at: expires, rights } = entry;
  const before = typeof issuedBefore === "number" ? issuedBefore : 0;
  const expiresAt = typeof expires === "number" ? expires : Infinity;
  if (kind === "rights" && isObject(rights)) {
    const roles = Array.isArray(rights.roles) ? { roles: rights.roles as string[] } : {};
    const rooms = Object.hasOwn(rights, "rooms") ? { rooms: rights.rooms } : {};
    target.rightsChanged({ name, issuedBefore: before, rights: { ...roles, ...rooms }, version: isVersion(entry.version) ? entry.version : null });
  } else if (kind === "disconnect") {
    target.disconnected({ name, at: before, expiresAt });
  } else if (KINDS.has(kind as string)) {
    target.revoked({ kind: kind as Revocation["kind"], name, issuer: issuer as string | null, issuedBefore: before, expiresAt });
  }
}
