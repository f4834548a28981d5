/** Connection state recovery (socket.io 4.6 and later): only the owner of a session restores it. */

import { fromHandshake } from "../core/credentials.js";
import { isSameKey } from "../core/dpop.js";
import type { Identity } from "../core/identity.js";
import { AuthError } from "../errors.js";
import type { Authorizer } from "./authorizer.js";
import type { GuardedConnection } from "./connection.js";
import { type HostClient, type HostNamespace, type HostSocket, rememberedRooms, type Session } from "./host.js";

type Auth = Record<string, unknown>;
export type RecoveryAuth = Auth & { pid: string; offset: string };

/** A socket and, if it was restored, the packets that it missed. */
export interface Recovered {
  socket: HostSocket;
  missed: readonly unknown[];
  /** To call when the socket is open or refused. */
  release?: () => void;
}

/** The sessions that are being restored: stores in memory restore a session twice, for two sockets with one ID. */
const claimed = new WeakMap<HostNamespace, Set<string>>();

/** Returns what gives the session up again; null if there is a socket with its ID, or about to be. */
function claim(namespace: HostNamespace, sid: string): (() => void) | null {
  const sids = claimed.get(namespace) ?? new Set<string>();
  claimed.set(namespace, sids);
  if (sids.has(sid) || namespace.sockets.has(sid)) return null;
  sids.add(sid);
  return () => sids.delete(sid);
}

/** True for the payload of a CONNECT that asks for a session. */
export function isRecovery(auth: Auth | undefined): auth is RecoveryAuth {
  return typeof auth?.pid === "string" && typeof auth.offset === "string";
}

/**
 * Restore a session only for its owner: the token is verified before anything is read from the store, and what was missed
 * is sent when the socket is admitted. Otherwise the client gets a new socket, which is decided about as any other.
 *
 * @param create makes a new socket.
 */
export async function recover(
  connection: GuardedConnection,
  namespace: HostNamespace,
  client: HostClient,
  auth: RecoveryAuth,
  create: (auth: Auth) => Promise<HostSocket>,
): Promise<Recovered> {
  const { pid, offset, ...rest } = auth;
  const plain: Recovered = { socket: await create(rest), missed: [] };
  const { handshake, log } = connection.context.settings;
  const { authorizer } = connection.deciders;
  if (handshake === null || connection.sockets.has(namespace.name) || connection.isFlood()) return plain;
  let release: (() => void) | null = null;
  try {
    const presented = fromHandshake(handshake, rest, connection.carried);
    const who = await authorizer.identify(presented, namespace.name, false); // the new socket is decided about, too
    const session = await authorizer.inTime(namespace.adapter.restoreSession(pid, offset));
    if (!session) return plain;
    release = claim(namespace, session.sid);
    if (release === null || !(await mayRestore(authorizer, namespace, session, who))) {
      release?.();
      const { missedPackets: _, ...kept } = session;
      await authorizer.inTime(namespace.adapter.persistSession(kept)); // some stores forget a session that was read
      return plain;
    }
    const SocketClass = plain.socket.constructor as new (nsp: unknown, client: unknown, auth: unknown, session: Session) => HostSocket;
    const socket = new SocketClass(namespace, client, rest, { ...session, missedPackets: [] });
    return { socket, missed: session.missedPackets, release };
  } catch (error) {
    release?.();
    if (!(error instanceof AuthError)) log("a session could not be restored", error);
    return plain;
  }
}

async function mayRestore(
  authorizer: Authorizer,
  namespace: HostNamespace,
  session: Session,
  who: Identity,
): Promise<boolean> {
  const owner = session.data?.identity as Identity | undefined;
  const isOwner = owner !== undefined && owner.subject !== "" && owner.subject === who.subject && owner.issuer === who.issuer;
  if (!isOwner || !isSameKey(owner, who)) return false;
  for (const room of rememberedRooms(session.data)) {
    if ((await authorizer.decide(who, "room", room, namespace.name)).error !== null) return false;
  }
  return true;
}
