/** How large a packet of a connection without an admitted socket may be. */

import type { HostConn } from "./host.js";

/** Packets in one polling body before admission: a client that joins several namespaces at once sends several. */
const PACKETS_IN_BODY = 4;

/** The limit of one connection: that of strangers, and the server's own from its first admission on. */
export class PacketLimit {
  lifted = false;
  #receiver: { _maxPayload: number } | null = null;
  #before = 0;

  /** @param most bytes of a packet before admission. */
  constructor(
    private readonly conn: HostConn,
    private readonly most: number,
  ) {
    this.#apply();
    if (conn.transport?.name === "polling") conn.once("upgrade", () => this.#apply());
  }

  /** The server's own limit counts again. */
  lift(): void {
    this.lifted = true;
    if (this.#receiver !== null) this.#receiver._maxPayload = this.#before;
    this.#receiver = null;
  }

  /** True for a polling body over the limit, or of unknown length: engine.io would read the server's limit of it. */
  isTooLarge(request: { method?: string | undefined; headers: Record<string, unknown> }): boolean {
    if (this.lifted || request.method !== "POST") return false;
    const length = Number(request.headers["content-length"] ?? NaN);
    return !(length <= PACKETS_IN_BODY * this.most);
  }

  #apply(): void {
    const receiver = this.conn.transport?.socket?._receiver; // of `ws`; other WebSocket servers have only the server's limit
    if (this.lifted || typeof receiver?._maxPayload !== "number") return;
    this.#receiver = receiver as { _maxPayload: number };
    this.#before = receiver._maxPayload;
    this.#receiver._maxPayload = Math.min(this.#before || this.most, this.most);
  }
}
