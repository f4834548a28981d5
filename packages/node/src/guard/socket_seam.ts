/** Where the guard stands in one socket of socket.io: below `onAny`, `socket.use` and all listeners. */

import { type AuthError, Unavailable } from "../errors.js";
import { ACK, CONNECT, DISCONNECT, type Done, EVENT, type HostSocket, type Packet } from "./host.js";

/** Hands a packet to socket.io. */
export type Pass = (packet: Packet) => void;

/** What a socket of socket.io tells the guard. */
export interface Arrivals {
  /** A packet arrived before admission. */
  inQuarantine(packet: Packet): void;
  /** A packet arrived on the open socket; `pass` hands it to socket.io. */
  arrived(packet: Packet, pass: Pass): void;
  /** socket.io opens the socket at this moment: what it missed is sent, its CONNECT reply is not. */
  opened(): void;
  /** The socket was closed, by whomever. */
  closed(): void;
}

export class SocketSeam {
  /** The client has received the CONNECT reply, so that it can be told things by events. */
  answered = false;
  /** Packets that were missed before a recovery; they are sent once the socket is admitted. */
  missed: readonly unknown[] = [];
  #done: Done | null;

  /** @param done opens the socket, or refuses it with an error. */
  constructor(
    readonly socket: HostSocket,
    done: Done,
  ) {
    this.#done = done;
  }

  /** Answer the CONNECT ourselves, and take what the client sends: socket.io does not know the socket yet. */
  quarantine(arrivals: Arrivals): void {
    const { socket } = this;
    clearTimeout(socket.client.connectTimeout); // the guard's own deadline counts
    this.#intercept(arrivals);
    this.answered = true;
    socket.packet({ type: CONNECT, data: { sid: socket.id } }); // without a pid: there is nothing to recover
  }

  /** Take what the client sends while its handshake is decided about: 4.0 to 4.4 drop it, later versions end the client. */
  decide(arrivals: Arrivals): void {
    if (this.socket._cleanup === undefined) this.#intercept(arrivals);
  }

  #intercept(arrivals: Arrivals): void {
    const { socket } = this;
    const nothing = (): void => undefined;
    socket.client.nsps.set(socket.nsp.name, {
      id: socket.id,
      nsp: socket.nsp,
      _onpacket: (packet: Packet) => arrivals.inQuarantine(packet),
      _onclose: nothing,
      _onerror: nothing,
      disconnect: nothing,
    });
  }

  /** Hand a packet to the open socket that arrived before socket.io replaced the stub. */
  passLater(packet: Packet): void {
    setImmediate(() => this.socket.connected && this.socket._onpacket(packet));
  }

  /**
   * Let socket.io open the socket.
   *
   * @param announce tells a client that has had its CONNECT reply already; else socket.io sends it.
   */
  open(arrivals: Arrivals, announce: () => void): void {
    const { socket, answered } = this;
    const { packet, _onpacket: onPacket, _onclose: onClose } = socket;
    socket.packet = (sent, options) => {
      if (sent.type !== CONNECT) {
        packet.call(socket, sent, options);
        return;
      }
      socket.packet = packet; // the one CONNECT that socket.io writes, in the moment in which the socket is open
      for (const data of this.missed) packet.call(socket, { type: EVENT, data });
      arrivals.opened();
      if (answered) process.nextTick(announce); // after the listeners of `connection`
      else packet.call(socket, sent, options);
    };
    const pass: Pass = (received) => onPacket.call(socket, received);
    socket._onpacket = (received) => arrivals.arrived(received, pass);
    socket._onclose = (reason, description) => {
      const result = onClose.call(socket, reason, description);
      if (!socket.connected) arrivals.closed();
      return result;
    };
    this.answered = true;
    this.finish();
  }

  /** Let socket.io open the socket, or clean up after it; exactly once. */
  finish(error?: AuthError): void {
    const done = this.#done;
    this.#done = null;
    if (error !== undefined && this.socket.rooms.size > 0) this.socket.leaveAll(); // 4.0 to 4.4 would keep it there
    done?.(error);
  }

  /** Clean up after a socket whose client is not there: socket.io would answer it. */
  abandon(): void {
    if (this.#done === null) return;
    this.socket.packet = () => undefined;
    this.finish(new Unavailable("the client left"));
  }

  /** Take the stub away. */
  forget(): void {
    const { nsps } = this.socket.client;
    const { name } = this.socket.nsp;
    if (!this.socket.connected && nsps.get(name) !== this.socket) nsps.delete(name);
  }

  /** Send an event straight to the socket, past the adapter and its recovery store. */
  send(event: string, data: object): void {
    this.socket.packet({ type: EVENT, data: [event, data] });
  }

  /** Acknowledge an event, if its client asked for it. */
  acknowledge(id: number | undefined, data: object): void {
    if (id !== undefined && id !== null) this.socket.packet({ type: ACK, id, data: [data] });
  }

  /** Send DISCONNECT and close the socket; returns false if socket.io has not opened it. */
  disconnect(): boolean {
    if (this.socket.connected) {
      this.socket.disconnect();
      return true;
    }
    this.socket.packet({ type: DISCONNECT });
    return false;
  }
}
