/** Connection state recovery (socket.io 4.6 and later): only the owner of a session restores it. */

import { fromHandshake } from "../core/credentials.js";
import { isSameKey } from "../core/dpop.js";
import type { Identity } from "../core/identity.js";
import { AuthError } from "../errors.js";
import { type Deciders, carriedBy } from "./connection.js";
import type { HostClient, HostNamespace, HostSocket, Session } from "./host.js";
import type { GuardSettings } from "./settings.js";
import { rememberedRooms } from "./socket.js";

type Auth = Record<string, unknown>;
export type RecoveryAuth = Auth & { pid: string; offset: string };

/** A socket, and the packets that it missed if it was restored. */
export interface Recovered {
  socket: HostSocket;
  missed: readonly unknown[];
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
  settings: GuardSettings,
  { authorizer }: Deciders,
  namespace: HostNamespace,
  client: HostClient,
  auth: RecoveryAuth,
  create: (auth: Auth) => Promise<HostSocket>,
): Promise<Recovered> {
  const { pid, offset, ...rest } = auth;
  const plain: Recovered = { socket: await create(rest), missed: [] };
  try {
    const { handshake, origins } = settings;
    if (handshake === null) return plain;
    const presented = fromHandshake(handshake, rest, carriedBy(client.conn.request, origins));
    const who = await authorizer.identify(presented, namespace.name, false); // the new socket is decided about, too
    const session = await namespace.adapter.restoreSession(pid, offset);
    if (!session) return plain;
    if (!(await mayRestore(authorizer, namespace, session, who))) {
      const { missedPackets: _, ...kept } = session;
      await namespace.adapter.persistSession(kept); // some stores forget a session that was read
      return plain;
    }
    const SocketClass = plain.socket.constructor as new (nsp: unknown, client: unknown, auth: unknown, session: Session) => HostSocket;
    const socket = new SocketClass(namespace, client, rest, { ...session, missedPackets: [] });
    return { socket, missed: session.missedPackets };
  } catch (error) {
    if (!(error instanceof AuthError)) settings.log("a session could not be restored", error);
    return plain;
  }
}

async function mayRestore(
  authorizer: Deciders["authorizer"],
  namespace: HostNamespace,
  session: Session,
  who: Identity,
): Promise<boolean> {
  const owner = session.data?.identity as Identity | undefined;
  const isOwner = owner !== undefined && owner.subject !== "" && owner.subject === who.subject && owner.issuer === who.issuer;
  if (!isOwner || !isSameKey(owner, who) || namespace.sockets.has(session.sid)) return false; // stores in memory restore a session twice
  for (const room of rememberedRooms(session.data)) {
    if ((await authorizer.decide(who, "room", room, namespace.name)).error !== null) return false;
  }
  return true;
}
