import { type ManagerOptions, type Socket, type SocketOptions, io } from "socket.io-client";
import { type ProofKey, socketsUrl } from "./proof.js";
import { type GetToken, type Presentable, type Refresh, type Tokens, ownToken, sharedTokens } from "./tokens.js";

/** Why the server refused the socket or disconnected it: the error of `connect_error`, or the argument of `unauthorized`. */
export interface Refusal {
  message: string;
  /** Missing if `refresh` or `token` returned null, or the server is not a roomkey server. */
  data?: { code: string; reason?: string; retry?: boolean; [member: string]: unknown };
}

/** The options of socket.io-client, and: */
export interface ConnectOptions extends Partial<Omit<ManagerOptions & SocketOptions, "auth">> {
  /**
   * The token, or a function that returns a new one for each connection and renewal; null if the user is logged out.
   * With `refresh`, the function receives the tokens, and can return something made from them, such as a ticket.
   */
  token?: string | GetToken;
  /**
   * Exchange the tokens for new ones; return null if the user is logged out, and throw an error to try again later.
   * The tokens are undefined if none are stored. All tabs of the origin share the result.
   */
  refresh?: Refresh;
  /** The tokens of a new login. They replace the stored ones. Only with `refresh`. */
  tokens?: Tokens;
  /** Name of the stored tokens. Default: `roomkey`. */
  name?: string;
  /** How to present the token: in the payload of CONNECT, or in the event `authenticate`. Default: `handshake`. */
  via?: "handshake" | "authenticate";
  /** The key to which the tokens are bound: `await dpopKey()`. Each token is then presented with a proof (DPoP, RFC 9449). */
  dpop?: ProofKey;
  /** Further members of the payload of CONNECT. */
  auth?: Record<string, unknown>;
  /** Called when the client has stopped: it does not reconnect until you call `socket.connect()`. */
  onSignedOut?: (refusal: Refusal) => void;
}

/** A token, and how to present it. */
interface Ready extends Presentable {
  payload: object;
}

const WAKE_EVENTS = ["pageshow", "online", "visibilitychange"];
const AUTHENTICATE = "authenticate";
const LONGEST_WAIT = 30_000;

/** Connect, and stay connected with new tokens until the server or the login server ends the login. */
export function connect(url: string, options: ConnectOptions): Socket {
  const { token, refresh, tokens, name = "roomkey", via, dpop, auth, onSignedOut, ...rest } = options ?? {};
  if (!token && !refresh) throw new TypeError("connect: no token to present; pass `token` or `refresh`");
  if (via && via !== "handshake" && via !== AUTHENTICATE) throw new TypeError("connect: `via` must be `handshake` or `authenticate`");
  if (dpop && !dpop.proof) throw new TypeError("connect: `dpop` must be a key; pass `await dpopKey()`");
  const source = refresh ? sharedTokens(name, refresh, token, tokens) : ownToken(token!);
  const later = via === AUTHENTICATE;

  let presented: Presentable | undefined; // the newest token that the server received on this connection
  let spent: unknown; // the version that the server called expiring or expired
  let expired: Refusal | undefined; // what the server said about `spent`
  let last: Refusal | undefined; // the last `unauthorized` on this connection
  let admitted = false;
  let unanswered = false; // a renewal was sent
  let waiting = false; // socket.io-client waits before its next attempt
  let round = 0; // counts the searches for a token: only the newest continues
  let failures = 0;
  let nonce: string | undefined; // what the server wants in the next proof
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due: (() => void) | undefined; // what the timer runs

  function cancel() {
    clearTimeout(timer);
    due = undefined;
    round++;
  }

  function hurry() {
    const run = due;
    clearTimeout(timer);
    due = undefined;
    run?.();
  }

  function retry(run: () => void) {
    clearTimeout(timer);
    due = run;
    timer = setTimeout(hurry, Math.min(LONGEST_WAIT, 1000 * 2 ** failures++) * (0.5 + Math.random() / 2));
  }

  /** Stop for good. If the token is the reason, the next page must not present it again. */
  function end(refusal: Refusal) {
    if (refusal.data?.code === "invalid_token" && presented) source.forget(presented.version).catch(() => undefined);
    socket.disconnect();
    onSignedOut?.(refusal);
  }

  /** Find a token to present, as often as it takes; return undefined if it is no longer needed. */
  async function find(): Promise<Ready | undefined> {
    for (const mine = ++round; mine === round; ) {
      try {
        const found = await source.get(spent);
        const payload = found?.token ? await payloadOf(found.token) : {};
        if (mine !== round) return undefined;
        if (found && !(expired && found.version === spent)) return { ...found, payload };
        end(expired ?? { message: "logged out" });
      } catch (error) {
        if (mine !== round) return undefined;
        console.warn("roomkey-client: no token yet, trying again:", (error as Error)?.name);
        await new Promise<void>((resolve) => retry(resolve));
      }
    }
    return undefined;
  }

  async function payloadOf(token: string) {
    if (!dpop) return { token };
    return { token, dpop: await dpop.proof({ method: "GET", url: socketsUrl(url, rest.path), token, nonce }) };
  }

  async function renew() {
    const found = await find();
    if (!found || !socket.connected || found.version === presented?.version) return;
    presented = found;
    unanswered = true;
    if (found.token) socket.emit(AUTHENTICATE, found.payload);
  }

  async function present(send: (payload: object) => void) {
    listen(true);
    presented = undefined;
    // A renewal that the lost connection did not send would follow the newer token of this connection.
    socket.sendBuffer = socket.sendBuffer.filter(({ data }) => data[0] !== AUTHENTICATE);
    if (later) return send({ ...auth });
    const found = await find();
    if (found) send({ ...auth, ...(presented = found).payload });
  }

  /** The server rejected the token, and a newer one can help. */
  function rejected(refusal: Refusal, again: () => void) {
    if (refusal.data!.code === "invalid_token" && presented) {
      spent = presented.version;
      expired = refusal;
    }
    presented = undefined;
    if (refusal.data!.code === "use_dpop_nonce") {
      nonce = refusal.data!.nonce as string;
      if (!failures++) return again();
    }
    retry(again);
  }

  function wake({ persisted }: Partial<PageTransitionEvent>) {
    if (document.visibilityState === "hidden") return;
    // The browser closed the connection when it put the page into the back/forward cache.
    if (persisted && socket.connected) socket.io.engine.close();
    if (due) hurry();
    else if (socket.connected) {
      if (!presented || presented.freshUntil <= Date.now()) void renew();
    } else if (waiting && socket.active && socket.io.reconnection()) {
      hangUp();
      socket.connect();
    }
  }

  function listen(on: boolean) {
    if (typeof window === "undefined") return;
    const change = on ? addEventListener : removeEventListener;
    for (const event of WAKE_EVENTS) change(event, wake as EventListener, true);
  }

  const socket = io(url, { ...rest, auth: (send) => void present(send), autoConnect: false });
  const hangUp = socket.disconnect.bind(socket);
  socket.disconnect = socket.close = () => {
    cancel();
    listen(false);
    return hangUp();
  };

  function admit() {
    admitted = true;
    unanswered = false;
    failures = 0;
    expired = last = undefined;
  }

  socket.on("connect", () => {
    last = undefined;
    if (later) void renew();
    else admit();
  });
  socket.on("authenticated", admit);
  socket.on("token_expiring", () => {
    if (unanswered) return; // the warning crossed a newer token
    spent = presented?.version;
    void renew();
  });
  socket.on("unauthorized", (refusal: Refusal) => {
    last = refusal;
    unanswered = false;
    if (refusal.data?.retry) rejected(refusal, renew);
    // A packet before `authenticate` is the application's, and a connected socket keeps its older token.
    else if (!admitted && refusal.data?.code !== "credentials_required") end(refusal);
  });
  socket.on("disconnect", (reason) => {
    cancel();
    admitted = unanswered = false;
    if (reason !== "io server disconnect") return;
    if (!last) listen(false); // the application on the server disconnected the socket
    else if (last.data?.retry) retry(() => socket.connect());
    else end(last);
  });
  socket.on("connect_error", (error: Refusal & Error) => {
    if (socket.active && error.data?.code === undefined) return; // no connection: socket.io-client tries again
    hangUp(); // before 4.4 it tries again after a refusal, too
    if (error.data?.retry) rejected(error, () => socket.connect());
    else end(error);
  });
  const pause = () => void (waiting = true);
  socket.io.on("close", pause);
  socket.io.on("error", pause);
  socket.io.on("reconnect_attempt", () => void (waiting = false));
  socket.io.on("open", () => void (waiting = false));

  return rest.autoConnect === false ? socket : socket.connect();
}
