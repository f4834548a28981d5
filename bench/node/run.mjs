// What the guard for Node.js costs: connect, refusal and echo, beside plain socket.io and the recipe with jsonwebtoken.
//
//     node bench/node/run.mjs [rounds]
//
// Each server is a process of its own. They take turns, and the median of the rounds of each counts: CPU of the server in
// microseconds for each operation.
import { createHmac, randomBytes } from "node:crypto";
import { fork } from "node:child_process";
import { createRequire } from "node:module";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const WebSocket = createRequire(new URL("../../packages/node/package.json", import.meta.url))("ws");
const rounds = Number(process.argv[2] ?? 7);
const secret = randomBytes(32).toString("base64url");
const KINDS = ["plain", "recipe", "recipe-key", "guarded"];
const [CONNECTS, ECHOES, WINDOW] = [400, 20_000, 50];

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
function token(key) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: "login", sub: "ada", aud: "chat", iat: now, exp: now + 900, jti: "x".repeat(22), roles: ["member"], rooms: ["red"] };
  const input = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${input}.${createHmac("sha256", key).update(input).digest("base64url")}`;
}
const [GOOD, BAD] = [token(secret), token("another")];

/** Open a connection and present a token; resolves with the socket and the answer to CONNECT. */
function connect(port, presented) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
    socket.on("error", reject);
    socket.on("message", (data) => {
      const text = String(data);
      if (text[0] === "0") socket.send(`40${JSON.stringify({ token: presented })}`);
      else if (text[0] === "4") resolve([socket, text]);
    });
  });
}

async function handshakes(port, presented, expected) {
  for (let done = 0; done < CONNECTS; done += 10) {
    const opened = await Promise.all(Array.from({ length: 10 }, () => connect(port, presented)));
    for (const [socket, text] of opened) {
      if (!text.startsWith(expected)) throw new Error(text);
      socket.terminate();
    }
  }
}

async function echo(port) {
  const [socket] = await connect(port, GOOD);
  await new Promise((resolve) => {
    let sent = 0;
    let answered = 0;
    const send = () => socket.send(`42${sent++}["echo",{"text":"hello","n":1}]`);
    socket.on("message", (data) => {
      if (!String(data).startsWith("43")) return;
      if (++answered === ECHOES) resolve();
      else if (sent < ECHOES) send();
    });
    for (let count = 0; count < WINDOW; count++) send();
  });
  socket.terminate();
}

const WORK = {
  connect: [CONNECTS, (port) => handshakes(port, GOOD, "40")],
  refusal: [CONNECTS, (port, kind) => handshakes(port, BAD, kind === "plain" ? "40" : "44")],
  echo: [ECHOES, echo],
};

async function cpu(child) {
  child.send("cpu");
  const [{ cpu: { user, system } }] = await once(child, "message");
  return user + system;
}

const servers = {};
for (const kind of KINDS) {
  const child = fork(fileURLToPath(new URL("server.mjs", import.meta.url)), [kind, secret]);
  const [{ port }] = await once(child, "message");
  servers[kind] = { child, port };
}
const measured = {};
for (let round = 0; round <= rounds; round++) {
  for (const [name, [count, work]] of Object.entries(WORK)) {
    for (const kind of round % 2 ? KINDS : [...KINDS].reverse()) {
      const { child, port } = servers[kind];
      const before = await cpu(child);
      await work(port, kind);
      const cost = ((await cpu(child)) - before) / count;
      if (round > 0) ((measured[name] ??= {})[kind] ??= []).push(cost); // the first round warms up
    }
  }
}
for (const { child } of Object.values(servers)) child.kill();
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
console.log(`CPU of the server, microseconds per operation (median of ${rounds} rounds)`);
for (const [name, costs] of Object.entries(measured)) {
  const found = Object.fromEntries(KINDS.map((kind) => [kind, median(costs[kind])]));
  const ratios = KINDS.slice(0, -1).map((kind) => `${(found.guarded / found[kind]).toFixed(2)} x ${kind}`);
  console.log(`${name}: ${KINDS.map((kind) => `${kind} ${found[kind].toFixed(1)}`).join(", ")}; guarded is ${ratios.join(", ")}`);
}
