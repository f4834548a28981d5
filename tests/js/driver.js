// Runs official Socket.IO clients for the tests: one JSON command a line in, one JSON line out for all that happens.
//
//   {"do": "open", "id", "client": "current" | "first", "url", "options", "auths": [payload, …]}
//   {"do": "join", "id", "over": id, "namespace", "auth"}      another namespace on the connection of `over`
//   {"do": "emit", "id", "args": [name, …], "ack": tag | null, "volatile": bool}
//   {"do": "ask", "id", "args": [name, …], "tag", "timeout"}   timeout(…).emitWithAck(…); says "late" when it is over
//   {"do": "connect" | "close", "id"}
//
// `auths` makes `auth` a function, which hands out one payload after the other. Bytes are {"$bytes": base64}.
// An acknowledgement that the server asks for is given at once: the event's own arguments.
import { createInterface } from "node:readline";
import { io as current } from "socket.io-client";
import { io as first } from "socket.io-client-first";

const clients = { current, first };
const sockets = new Map();

const plain = (key, value) =>
  value?.type === "Buffer" ? { $bytes: Buffer.from(value.data).toString("base64") } : value;
const alive = (key, value) => (value?.$bytes === undefined ? value : Buffer.from(value.$bytes, "base64"));
const say = (id, what, facts = {}) => process.stdout.write(JSON.stringify({ id, what, ...facts }, plain) + "\n");

function watch(id, socket) {
  sockets.set(id, socket);
  socket.on("connect", () => {
    const { engine } = socket.io;
    say(id, "connect", { sid: socket.id, transport: engine.transport.name });
    engine.once("upgrade", (transport) => say(id, "upgrade", { transport: transport.name }));
  });
  socket.on("connect_error", (error) =>
    say(id, "connect_error", { message: error.message, data: error.data ?? null, active: socket.active }));
  socket.on("disconnect", (reason) => say(id, "disconnect", { reason, active: socket.active }));
  socket.onAny((name, ...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : null;
    say(id, "event", { name, args });
    ack?.(...args);
  });
}

const commands = {
  open({ id, client, url, options, auths }) {
    const rest = [...(auths ?? [])];
    const auth = auths ? (done) => done(rest.length > 1 ? rest.shift() : rest[0]) : options.auth;
    watch(id, clients[client](url, { reconnectionDelay: 20, reconnectionDelayMax: 20, ...options, auth, forceNew: true }));
  },
  join: ({ id, over, namespace, auth }) => watch(id, sockets.get(over).io.socket(namespace, { auth })),
  emit({ id, args, ack, volatile }) {
    const answer = ack === null ? [] : [(...given) => say(id, "ack", { tag: ack, args: given })];
    const socket = sockets.get(id);
    (volatile ? socket.volatile : socket).emit(...args, ...answer);
  },
  ask({ id, args, tag, timeout }) {
    sockets.get(id).timeout(timeout).emitWithAck(...args).then(
      (given) => say(id, "ack", { tag, args: [given] }),
      (error) => say(id, "late", { tag, message: error.message }));
  },
  connect: ({ id }) => sockets.get(id).connect(),
  close({ id }) {
    sockets.get(id)?.disconnect();
    sockets.delete(id);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...command } = JSON.parse(line, alive);
  commands[what](command);
}
process.exit(0);
