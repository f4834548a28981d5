/** Who a connection belongs to, as a verified token says. */

import { type Claims, get, isName } from "./claims.js";
import { type Actions, grantedActions, isGranted, joinable } from "./grants.js";
import { names } from "./names.js";

/**
 * What is known of the holder of a verified token. It is plain JSON and does not contain the token, because
 * `socket.data` travels to other nodes and into recovery stores. Treat it as read-only.
 */
export interface Identity {
  /** `sub`, or the claim that the verifier takes it from; empty for a guest. */
  readonly subject: string;
  /** `iss`, or null. */
  readonly issuer: string | null;
  /** `roles` (a list of strings) and `role` (one string), exactly as written. */
  readonly roles: readonly string[];
  /** `scope`, split at spaces (RFC 8693 section 4.2). */
  readonly scopes: readonly string[];
  /** The names and patterns of `rooms` that it grants to join; ask {@link grants} about one room. */
  readonly rooms: readonly string[];
  /** All claims. `roles` and `rooms` of a wrong form are missing, so that no rule can take them for a list. */
  readonly claims: Readonly<Claims>;
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

/** Make an identity of claims that were already checked; they are taken over, not copied. */
export function fromClaims(claims: Claims, subject: string, source: string): Identity {
  const roles = new Set(names(get(claims, "roles")));
  const actions = grantedActions(get(claims, "rooms"));
  if (roles.size === 0) delete claims.roles;
  if (actions.size === 0) delete claims.rooms;
  const role = get(claims, "role");
  const scope = get(claims, "scope");
  if (isName(role)) roles.add(role);
  const orNull = <T>(name: string): T | null => (get(claims, name) as T | undefined) ?? null;
  const scopes = typeof scope === "string" ? scope.split(" ").filter((name) => name !== "") : [];
  // Frozen: what an application changed by mistake would count as its rights.
  return Object.freeze({
    subject,
    issuer: orNull<string>("iss"),
    roles: Object.freeze([...roles]),
    scopes: Object.freeze([...new Set(scopes)]),
    rooms: Object.freeze(joinable(actions)),
    claims: Object.freeze(claims),
    expiresAt: orNull<number>("exp"),
    issuedAt: orNull<number>("iat"),
    tokenId: orNull<string>("jti"),
    sessionId: orNull<string>("sid"),
    source,
  });
}

/** The same holder with other roles or rooms than the token names; what is omitted stays. */
export function withRights(who: Identity, rights: { roles?: readonly string[]; rooms?: unknown }): Identity {
  const claims: Claims = { ...who.claims };
  if (rights.roles) {
    delete claims.role;
    claims.roles = [...rights.roles];
  }
  if (rights.rooms !== undefined) claims.rooms = rights.rooms;
  const changed = fromClaims(claims, who.subject, who.source);
  return Object.freeze({ ...who, claims: changed.claims, roles: changed.roles, rooms: changed.rooms });
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
    actions = grantedActions(get(who.claims, "rooms"));
    actionsOf.set(who, actions);
  }
  return isGranted(actions, room, event);
}
