/**
 * One namespace connection from its first packet to its end, as a table. It is that of `roomkey.core.admission`.
 *
 *                  present            identified           accepted
 *     pending ----------------> deciding ------> connecting -----> admitted
 *        ^      bad token           |                |                |
 *        +--------------------------+                |                |
 *        |  timeout, any packet,    | the same, and  | revoked,       | expired, revoked,
 *        |  last bad token          | last bad token | declined       | subject mismatch
 *        v                          v                v                v
 *     refused <---------------------+----------------+              ended  <-- namespace forbidden, the others go on
 *
 * Until it is admitted, a socket is in quarantine: no handler runs for it but the namespace's own middlewares (while
 * connecting, when it is known who it is), and nothing is delivered to it. A pair that is not in the table changes nothing
 * and does nothing: what lost a race stays lost.
 */

export type State = "pending" | "deciding" | "connecting" | "admitted" | "refused" | "ended";

export type Input =
  | "present" // a token was presented
  | "identified" // the token is valid, not revoked, and may connect here
  | "bad token" // it is not, and another attempt is allowed
  | "last bad token" // it is not, and that was the last attempt
  | "accepted" // the middlewares accepted
  | "declined" // a middleware declined or failed
  | "packet" // an event or an acknowledgement arrived
  | "timeout" // the time to authenticate is over
  | "expire" // the token has expired
  | "revoke" // the token was revoked
  | "forbid" // the identity may not be in this namespace any more
  | "mismatch" // another subject's token was presented on the connected socket
  | "gone"; // the client left, or the transport closed

export type Action =
  | "verify" // look at the token
  | "run middlewares"
  | "announce" // tell the client that it is admitted
  | "refresh" // look at the new token of a connected socket
  | "dispatch" // hand the packet to the application
  | "report" // tell the client why not
  | "disconnect" // Socket.IO DISCONNECT: the client does not reconnect automatically
  | "close"; // close the transport

type Step = readonly [State, readonly Action[]];

const REFUSE: Step = ["refused", ["report", "disconnect", "close"]];
const END: Step = ["ended", ["report", "disconnect", "close"]];

const TABLE: Readonly<Record<State, Partial<Record<Input, Step>>>> = {
  pending: {
    present: ["deciding", ["verify"]],
    packet: REFUSE,
    timeout: REFUSE,
    gone: ["refused", []],
  },
  deciding: {
    identified: ["connecting", ["run middlewares"]],
    "bad token": ["pending", ["report"]],
    "last bad token": REFUSE,
    packet: REFUSE,
    timeout: REFUSE,
    gone: ["refused", []],
  },
  connecting: {
    accepted: ["admitted", ["announce"]],
    declined: REFUSE,
    packet: REFUSE,
    timeout: REFUSE,
    expire: REFUSE,
    revoke: REFUSE,
    forbid: ["refused", ["report", "disconnect"]],
    gone: ["refused", []],
  },
  admitted: {
    present: ["admitted", ["refresh"]],
    packet: ["admitted", ["dispatch"]],
    expire: ["ended", ["report", "close"]], // no DISCONNECT: it may return with a fresh token
    revoke: END,
    forbid: ["ended", ["report", "disconnect"]], // what runs over other namespaces goes on
    mismatch: END,
    "last bad token": END,
    "bad token": ["admitted", ["report"]],
    gone: ["ended", []],
  },
  refused: {},
  ended: {},
};

/** The state of one namespace connection. */
export class Admission {
  state: State = "pending";
  attempts = 0;

  /** @param maxAttempts so many bad tokens refuse it. */
  constructor(public maxAttempts: number) {}

  /** Let something happen; returns what is to be done, in order, or nothing where the table has no such pair. */
  feed(input: Input): readonly Action[] {
    const step = TABLE[this.state][input];
    if (step === undefined) return [];
    this.state = step[0];
    return step[1];
  }

  /** Count a rejected token; the last allowed one refuses the socket, however often it was renewed in between. */
  badToken(isTemporary: boolean): readonly Action[] {
    if (isTemporary) return this.feed("bad token"); // not the client's mistake, and it may try again in its time
    this.attempts += 1;
    return this.feed(this.attempts >= this.maxAttempts ? "last bad token" : "bad token");
  }

  /** True until it is refused or ended. */
  get live(): boolean {
    return this.state !== "refused" && this.state !== "ended";
  }

  /** True while its identity is known and it is not refused or ended: middlewares may put it into rooms. */
  get identified(): boolean {
    return this.state === "connecting" || this.state === "admitted";
  }

  /** True while it is open. */
  get admitted(): boolean {
    return this.state === "admitted";
  }
}
