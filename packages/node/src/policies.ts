/** Ready-made rules for a policy. */

import { grants, hasRole } from "./core/identity.js";
import type { Rule } from "./core/policy.js";

/** Allow the rooms that the token's `rooms` claim grants to join, and every room to the role `admin`. */
export const roomsClaim: Rule = (who, { room = "" }) => hasRole(who, "admin") || grants(who, room);

/** Allow to emit what the token's `rooms` claim grants, and everything to the role `admin`. */
export const emitClaim: Rule = (who, { room = "", event = "" }) => hasRole(who, "admin") || grants(who, room, event);

/** Allow a subject's own room: `policy.room("user:{sub}", ownRooms)`. */
export const ownRooms: Rule = (who, { sub }) => who.subject === sub;
