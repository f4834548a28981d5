// A real server that speaks roomkey's wire contract with made-up tokens, and clients of this package.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { connect } from "roomkey-client";

const PATIENCE = 10_000;
let stores = 0;

/** An error of the wire contract. */
export function refusal(reason, { code = "invalid_token", retry } = {}) {
  const message = reason ?? code;
  return { message, data: { message, code, type: "UnauthorizedError", ...(reason && { reason }), ...(retry && { retry }) } };
}

export const EXPIRED = refusal("token_expired", { retry: true });
export const REVOKED = refusal("token_revoked");
export const UNAVAILABLE = refusal("temporarily_unavailable", { code: "temporarily_unavailable", retry: true });
export const MISSING = refusal(undefined, { code: "credentials_required" });

/** Wait for a promise, and fail with what was awaited. */
export function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`waited for ${what}`)), PATIENCE)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Things in the order in which they happened; `next` waits for one. */
export class Queue {
  #items = [];
  #takers = [];
  all = [];
  put(item) {
    this.all.push(item);
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }
  next(what = "the next item") {
    return soon(this.#items.length ? Promise.resolve(this.#items.shift()) : new Promise((take) => this.#takers.push(take)), what);
  }
}

/**
 * A server that says about each token what `verdicts` has, and admits the others.
 *
 * `server.presented` has the tokens, `server.sockets` the admitted sockets; `quarantine` admits on `authenticate`.
 */
export async function world(t, { quarantine = false, verdicts = {} } = {}) {
  const http = createServer();
  const io = new Server(http, { transports: ["websocket"], connectionStateRecovery: undefined });
  const made = { io, verdicts, presented: new Queue(), renewals: new Queue(), sockets: new Queue(), clients: [] };
  made.judge = (token) => (token === undefined ? MISSING : made.verdicts[token]);
  io.use((socket, next) => {
    const { token } = socket.handshake.auth;
    if (quarantine) return next();
    made.presented.put(token);
    const error = made.judge(token);
    return next(error && Object.assign(new Error(error.message), { data: error.data }));
  });
  io.on("connection", (socket) => {
    let admitted = !quarantine;
    socket.onAny((event) => {
      if (!admitted && event !== "authenticate") socket.emit("unauthorized", { ...MISSING, inner: {} });
    });
    socket.on("authenticate", ({ token }) => {
      (admitted ? made.renewals : made.presented).put(token);
      const error = made.judge(token);
      if (error) socket.emit("unauthorized", { ...error, inner: {} });
      else socket.emit("authenticated", { expires_in: 600 });
      if (!admitted && !error) made.sockets.put(socket);
      admitted ||= !error;
    });
    if (admitted) made.sockets.put(socket);
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  made.url = `http://127.0.0.1:${http.address().port}`;

  /** A client with a store of its own; `socket.ended` has what `onSignedOut` received. */
  made.connect = (options) => {
    const ended = new Queue();
    const onSignedOut = (error) => ended.put(error);
    const settings = { forceNew: true, transports: ["websocket"], reconnectionDelay: 20, name: `store ${++stores}` };
    const socket = connect(made.url, { ...settings, onSignedOut, ...options });
    made.clients.push(socket);
    return Object.assign(socket, { ended });
  };
  t.after(async () => {
    for (const client of made.clients) client.disconnect();
    await new Promise((resolve) => io.close(resolve));
  });
  return made;
}

/** A login server: `refresh` returns the tokens t1, t2, … and `refreshes` has what it received. */
export function login() {
  let count = 0;
  const refreshes = new Queue();
  const refresh = async (tokens) => {
    refreshes.put(tokens);
    count++;
    return { access_token: `t${count}`, refresh_token: `r${count}`, expires_in: 600 };
  };
  return { refreshes, refresh, tokens: { access_token: "t0", refresh_token: "r0", expires_in: 600 } };
}

export const expire = (socket) => {
  socket.emit("unauthorized", { ...EXPIRED, inner: {} });
  socket.conn.close();
};
export const revoke = (socket) => {
  socket.emit("unauthorized", { ...REVOKED, inner: {} });
  socket.disconnect(true);
};
export const warn = (socket) => socket.emit("token_expiring", { expires_in: 60 });
