// A guarded Socket.IO server for the tokens of an OpenID provider: ISSUER, AUDIENCE, CLIENT_ID and CLIENT_SECRET are in the
// environment, and FETCH_TIMEOUT if another one is wanted. Writes its port, then answers each command with one line of JSON:
//   {"advance": seconds}   moves the clock of the keys
//   {"settle": true}       waits for the fetch under way
//   {"verify": tokens}     presents them to a route
import { createServer } from "node:http";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { Server } from "socket.io";
import { RemoteKeySet, Verifier, guard } from "roomkey";

const { ISSUER, AUDIENCE, CLIENT_ID, CLIENT_SECRET, FETCH_TIMEOUT = "2000" } = process.env;
let ahead = 0;
const clock = () => performance.now() / 1000 + ahead;
const log = () => undefined;
const keys = new RemoteKeySet(ISSUER, { discover: true, clock, log, fetchTimeout: Number(FETCH_TIMEOUT) });
const issuer = { issuer: ISSUER, audience: AUDIENCE };
const client = { clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
const verifier = Verifier.anyOf(
  new Verifier(keys, { algorithms: keys.algorithms, ...issuer }),
  Verifier.introspection(`${ISSUER}/token/introspection`, { ...issuer, ...client, clock, log }),
);
const http = createServer();
const io = new Server(http);
const roomkey = guard(io, verifier, { via: ["handshake", "authenticate"], maxAnonymous: 20_000, log });
io.on("connection", (socket) => socket.on("echo", (text, answer) => answer(text)));
/** What a route of the application tells those who present these tokens, one after the other. */
async function told(tokens) {
  const found = new Set();
  for (const token of tokens) {
    const request = { headers: { authorization: `Bearer ${token}` }, url: "/me" };
    found.add(await roomkey.verifyRequest(request).then(({ subject }) => subject, ({ status, message }) => `${status} ${message}`));
  }
  return [...found];
}
const delays = monitorEventLoopDelay({ resolution: 2 });
delays.enable();
let used = process.cpuUsage();
/** How long something has blocked the event loop, in milliseconds. It does not count how long the machine ran others. */
function blocked() {
  const { user, system } = process.cpuUsage(used);
  const longest = Math.min(delays.max / 1e6, (user + system) / 1e3);
  delays.reset();
  used = process.cpuUsage();
  return Math.round(longest);
}
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  ahead += command.advance ?? 0;
  if (command.settle) await keys.prefetch();
  const outcomes = await told(command.verify ?? []);
  const subjects = roomkey.sockets().map(({ identity }) => identity.subject);
  console.log(JSON.stringify({ subjects, outcomes, blocked: blocked(), ...keys.status() }));
}
process.exit(0);
