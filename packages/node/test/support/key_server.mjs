// An HTTP server on loopback that publishes keys, or misbehaves as the test says; and tokens of its issuer.
import { generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:net";

export const SSO = "https://sso.example";
const KINDS = { ES256: ["ec", { namedCurve: "P-256" }], RS256: ["rsa", { modulusLength: 2048 }] };
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A key pair: its public JWK, its private one, and tokens that it signs. */
export function keyPair(kid, alg = "ES256") {
  const { privateKey, publicKey } = generateKeyPairSync(...KINDS[alg]);
  const jwk = { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" };
  const secret = { ...privateKey.export({ format: "jwk" }), kid, alg };
  const token = (claims = {}, header = {}) => {
    const now = Math.floor(Date.now() / 1000);
    const payload = { iss: SSO, aud: "chat", sub: "ada", iat: now, exp: now + 600, ...claims };
    const input = `${part({ alg, kid, ...header })}.${part(payload)}`;
    const signature = sign("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" });
    return `${input}.${signature.toString("base64url")}`;
  };
  return { kid, jwk, secret, token, named: (other) => ({ ...jwk, kid: other }) };
}

// How the server responds: functions of the connection.
export const respond = (body, { status = "200 OK", headers = "", type = "application/jwk-set+json" } = {}) => (connection) =>
  connection.end(`HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n${headers}\r\n${body}`);
export const json = (value) => respond(JSON.stringify(value));
export const keys = (...listed) => json({ keys: listed });
export const redirect = (where) => respond("", { status: "302 Found", headers: `Location: ${where}\r\n` });
export const failing = respond("oops", { status: "500 Internal Server Error" });
export const html = respond("<!doctype html><title>Log in</title>", { type: "text/html" });
export const cut = (connection) => connection.end('HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n{"keys": [');
export const silent = (connection) => connection.end();
/** Never respond. */
export const mute = () => undefined;

/** Send one byte of a header again and again, each within any limit for one read. */
export function drip(connection) {
  connection.write("HTTP/1.1 200 OK\r\nX-Padding: ");
  const timer = setInterval(() => connection.write("x"), 20);
  connection.on("close", () => clearInterval(timer));
}

/** Respond with 100 MB as fast as they are read, and count them. */
export function huge(size = 100_000_000) {
  const respondHuge = (connection) => {
    connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
    const block = Buffer.alloc(65_536, " ");
    const more = () => {
      while (!connection.destroyed && respondHuge.sent < size) {
        respondHuge.sent += block.length;
        if (!connection.write(block)) return void connection.once("drain", more);
      }
    };
    more();
  };
  respondHuge.sent = 0;
  return respondHuge;
}

/** Respond only after `release`; `arrived` is there when the first request is. */
export function held(then) {
  let release, arrive;
  const released = new Promise((resolve) => (release = resolve));
  const arrived = new Promise((resolve) => (arrive = resolve));
  return Object.assign(
    async (connection) => {
      arrive();
      await released;
      then(connection);
    },
    { arrived, release },
  );
}

/** A server; `respond` and `routes` are what the test sets, `paths`, `heads` and `bodies` what came. */
export async function keyServer(t, ...listed) {
  const made = { paths: [], heads: [], bodies: [], routes: {}, respond: listed.length > 0 ? keys(...listed) : failing };
  const connections = new Set();
  const server = createServer((connection) => {
    connections.add(connection);
    connection.on("error", () => undefined).on("close", () => connections.delete(connection));
    let received = "";
    connection.on("data", (data) => {
      received += data.toString("latin1");
      const [head, body] = received.split("\r\n\r\n");
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (body === undefined || body.length < length) return;
      received = "";
      const path = head.split(" ")[1];
      made.paths.push(path);
      made.heads.push(head);
      made.bodies.push(body);
      (made.routes[path] ?? made.respond)(connection);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  made.url = `http://127.0.0.1:${server.address().port}`;
  made.publish = (...jwks) => (made.respond = keys(...jwks));
  made.discover = (members = {}) => {
    made.routes["/.well-known/openid-configuration"] = json({ issuer: made.url, jwks_uri: `${made.url}/jwks`, ...members });
  };
  made.close = () => {
    for (const connection of connections) connection.destroy();
    server.close();
  };
  t.after(made.close);
  return made;
}

/** A clock that a test moves. */
export function fakeClock() {
  let now = 1000;
  return Object.assign(() => now, { advance: (seconds) => (now += seconds) });
}
