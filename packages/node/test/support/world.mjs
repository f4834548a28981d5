// Real servers of several versions of socket.io, and real clients.
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import ioc from "socket.io-client";
import WebSocket from "ws";
import { Verifier, guard } from "roomkey";

const require = createRequire(import.meta.url);
export const VERSIONS = ["socket.io-4.0", "socket.io-4.4", "socket.io-4.5", "socket.io-4.6", "socket.io"];
export const SECRET = "tests-1f0e2d3c4b5a69788796a5b4c3d2e1f0-only";
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let tokens = 0;

/** A monotonic clock that the test moves: returns a function that takes seconds. */
export function monotonicClock(t) {
  const { now } = performance;
  let ahead = 0;
  performance.now = () => now.call(performance) + ahead;
  t.after(() => (performance.now = now));
  return (seconds) => (ahead += seconds * 1000);
}

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token of the tests' issuer. */
export function token(subject = "ada", claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { sub: subject, aud: "chat", iat: now, exp: now + 600, jti: `t${++tokens}`, ...claims };
  const input = `${part({ alg: "HS256" })}.${part(payload)}`;
  return `${input}.${createHmac("sha256", SECRET).update(input).digest("base64url")}`;
}

export const expired = () => token("ada", { iat: 1_600_000_000, exp: 1_600_000_600 });

const byDefault = (io, options) => guard(io, Verifier.hs256(SECRET, { audience: "chat" }), options);

/** A server with a guard, closed when the test ends. */
export async function world(t, { version = "socket.io", server = {}, prepare, make = byDefault, ...options } = {}) {
  const { Server } = require(version);
  const http = createServer();
  const io = new Server(http, { transports: ["polling", "websocket"], ...server });
  const made = { io, http, lines: [], logs: [], clients: [] };
  made.roomkey = make(io, {
    audit: (line) => made.lines.push(JSON.parse(line)),
    log: (message, error) => made.logs.push([message, error]),
    ...options,
  });
  prepare?.(io, made.roomkey);
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  made.url = `http://127.0.0.1:${http.address().port}`;
  made.client = (auth, { namespace = "", ...more } = {}) => {
    const client = ioc(made.url + namespace, { auth, forceNew: true, reconnection: false, transports: ["websocket"], ...more });
    made.clients.push(client);
    client.heard = [];
    client.on("connect", () => (client.wasConnected = true));
    client.onAny((event, ...args) => client.heard.push([event, ...args]));
    client.on("connect_error", (error) => client.heard.push(["connect_error", error.message, error.data]));
    client.on("disconnect", (reason) => client.heard.push(["disconnect", reason]));
    return client;
  };
  made.member = async (subject, claims, more) => {
    const client = made.client({ token: token(subject, claims) }, more);
    await event(client, "connect");
    return client;
  };
  t.after(async () => {
    for (const client of made.clients) client.close();
    for (const connection of Object.values(io.engine.clients)) {
      connection.close(true);
      connection.transport.shouldClose?.(); // no poll fetches its last packets
    }
    made.roomkey.close();
    await new Promise((resolve) => io.close(resolve));
  });
  return made;
}

const taken = new WeakSet();

/** Wait for an event of a client, or take one that came already; returns its arguments. */
export async function event(client, name, ms = 20_000) {
  if (name === "connect") {
    await until(() => client.wasConnected, ms, () => `no connect; heard ${JSON.stringify(client.heard)}`);
    return [];
  }
  let found;
  const look = () => (found = client.heard.find((heard) => heard[0] === name && !taken.has(heard)));
  await until(look, ms, () => `no ${name}; heard ${JSON.stringify(client.heard)}`);
  taken.add(found);
  return found.slice(1);
}

/** Send an event and wait for its acknowledgement. */
export const ask = (client, ...args) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer; heard ${JSON.stringify(client.heard)}`)), 20_000);
    client.emit(...args, (answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
  });

/** Wait until something is true. */
export async function until(check, ms = 20_000, describe = () => `not within ${ms} ms: ${check}`) {
  for (const end = Date.now() + ms; !check(); ) {
    if (Date.now() > end) throw new Error(describe());
    await sleep(5);
  }
}

/** A raw WebSocket: frames are texts, numbers are pauses in milliseconds; tells what came until it was closed. */
export function raw(url, frames, { ms = 2000 } = {}) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    const heard = [];
    let timer;
    const done = (closed) => {
      clearTimeout(timer);
      socket.terminate();
      resolve({ closed, heard: heard.slice(1).filter((text) => text !== "2") });
    };
    socket.on("message", (data) => heard.push(String(data)));
    socket.on("close", () => done(true));
    socket.on("error", () => undefined);
    socket.on("open", async () => {
      timer = setTimeout(() => done(false), ms);
      for (const frame of frames) {
        if (typeof frame === "number") await sleep(frame);
        else socket.send(frame);
      }
    });
  });
}
