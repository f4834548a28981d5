/** The identity of a client, as its verified token states it. */

import { type Claims, get } from "./claims.js";
import { type Actions, grantedActions, isGranted, joinable } from "./grants.js";
import { isName, names } from "./names.js";

/**
 * What is known of the holder of a verified token. It is plain JSON and does not contain the token, because
 * `socket.data` travels to other nodes and into recovery stores. Treat it as read-only.
 */
export interface Identity {
  /** `sub`; empty for a guest. `claimsMap` can name another place for it, and for the roles, scopes, rooms and session. */
  readonly subject: string;
  /** `iss`, or null. */
  readonly issuer: string | null;
  /** `roles` (a list of strings) and `role` (one string), exactly as written. */
  readonly roles: readonly string[];
  /** `scope`, split at spaces (RFC 8693 section 4.2). */
  readonly scopes: readonly string[];
  /** The names and patterns of `rooms` that it grants to join; ask {@link grants} about one room. */
  readonly rooms: readonly string[];
  /**
   * All claims of the token; `claimsMap` changes nothing in them. `roles` and `rooms` of a wrong form are missing, so that
   * no rule can take them for a list.
   */
  readonly claims: Readonly<Claims>;
  /** The `rooms` that count, if they are not those in `claims`. */
  readonly mappedRooms?: unknown;
  /** `exp` in seconds since the epoch, or null. */
  readonly expiresAt: number | null;
  /** `iat` in seconds since the epoch, or null. */
  readonly issuedAt: number | null;
  /** `jti`, or null. */
  readonly tokenId: string | null;
  /** `sid`: one login session and all tokens that were refreshed from it, or null. */
  readonly sessionId: string | null;
  /** Where the token was presented: `auth`, `header`, `cookie`, `query`, `event`, `guest` or "". */
  readonly source: string;
}

/** A client without a token: no subject, no roles, no rooms. */
export const GUEST: Identity = Object.freeze({
  subject: "",
  issuer: null,
  roles: [],
  scopes: [],
  rooms: [],
  claims: {},
  expiresAt: null,
  issuedAt: null,
  tokenId: null,
  sessionId: null,
  source: "guest",
});

/**
 * Make an identity of claims that were already checked; they are taken over, not copied.
 *
 * @param claims the claims in standard form.
 * @param original the payload, if it is not in standard form.
 */
export function fromClaims(claims: Claims, source: string, original: Claims = claims): Identity {
  const roles = new Set(names(get(claims, "roles")));
  const actions = grantedActions(get(claims, "rooms"));
  const role = get(claims, "role");
  const scope = get(claims, "scope");
  if (isName(role)) roles.add(role);
  const orNull = <T>(name: string): T | null => (get(claims, name) as T | undefined) ?? null;
  const scopes = typeof scope === "string" ? scope.split(" ").filter((name) => name !== "") : [];
  // Frozen: what an application changed by mistake would count as its rights.
  return Object.freeze({
    subject: orNull<string>("sub") ?? "",
    issuer: orNull<string>("iss"),
    roles: Object.freeze([...roles]),
    scopes: Object.freeze([...new Set(scopes)]),
    rooms: Object.freeze(joinable(actions)),
    claims: withoutMalformed(original),
    expiresAt: orNull<number>("exp"),
    issuedAt: orNull<number>("iat"),
    tokenId: orNull<string>("jti"),
    sessionId: orNull<string>("sid"),
    source,
    ...(claims === original ? {} : { mappedRooms: get(claims, "rooms") ?? [] }),
  });
}

/** The same holder with other roles or rooms than the token names; what is omitted stays. */
export function withRights(who: Identity, rights: { roles?: readonly string[]; rooms?: unknown }): Identity {
  const { mappedRooms, ...rest } = who;
  const claims: Claims = { ...who.claims };
  let changed = rest;
  if (rights.roles) {
    delete claims.role;
    claims.roles = [...rights.roles];
    changed = { ...changed, roles: Object.freeze([...new Set(names(rights.roles))]) };
  }
  if (rights.rooms !== undefined) {
    claims.rooms = rights.rooms;
    changed = { ...changed, rooms: Object.freeze(joinable(grantedActions(rights.rooms))) };
  }
  const kept = mappedRooms === undefined || rights.rooms !== undefined ? {} : { mappedRooms };
  return Object.freeze({ ...changed, ...kept, claims: withoutMalformed(claims) });
}

/** Remove `roles` and `rooms` of a wrong form from the claims, and freeze them. */
function withoutMalformed(claims: Claims): Readonly<Claims> {
  if (names(get(claims, "roles")).length === 0) delete claims.roles;
  if (grantedActions(get(claims, "rooms")).size === 0) delete claims.rooms;
  return Object.freeze(claims);
}

/** True for {@link GUEST}. */
export function isGuest(who: Identity): boolean {
  return who.source === "guest";
}

/** True if the token names exactly this role; no folding of case, spaces or look-alikes. */
export function hasRole(who: Identity, role: string): boolean {
  return who.roles.includes(role);
}

/** True if the token names exactly this scope. */
export function hasScope(who: Identity, scope: string): boolean {
  return who.scopes.includes(scope);
}

const actionsOf = new WeakMap<Identity, Actions>();

/**
 * True if the token's own `rooms` claim grants to join a room, or to emit an event to it.
 *
 * @param event the event to emit; to join if omitted.
 */
export function grants(who: Identity, room: string, event?: string): boolean {
  let actions = actionsOf.get(who);
  if (actions === undefined) {
    actions = grantedActions(who.mappedRooms === undefined ? get(who.claims, "rooms") : who.mappedRooms);
    actionsOf.set(who, actions);
  }
  return isGranted(actions, room, event);
}
