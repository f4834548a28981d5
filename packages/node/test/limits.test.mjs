// What a stranger, and what one subject, may have and send.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, guard, Verifier } from "roomkey";
import { createRequire } from "node:module";
import WebSocket from "ws";
import { SECRET, VERSIONS, ask, event, raw, token, until, world } from "./support/world.mjs";
import { inside } from "./support/vectors.mjs";

const { networkOf } = inside("networks");
const { BadTokens } = inside("bad_tokens");
const { Revocations } = inside("revocations");

/** Open a WebSocket and wait for Engine.IO's first packet; false if it was refused. */
function opened(t, url) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => socket.terminate());
  return new Promise((resolve) => {
    socket.on("message", () => resolve(socket));
    socket.on("error", () => resolve(false));
  });
}

for (const version of VERSIONS) {
  test(`an address has few connections without a token: ${version}`, async (t) => {
    const made = await world(t, { version, maxAnonymous: 2, required: false });
    const refused = [];
    made.roomkey.onRefused((error, address) => refused.push([error.code, address]));
    const member = await made.member("ada"); // does not count
    const strangers = [await opened(t, made.url), await opened(t, made.url)];
    assert.ok(strangers.every(Boolean));
    assert.equal(await opened(t, made.url), false);
    const polling = await fetch(`${made.url}/socket.io/?EIO=4&transport=polling`);
    assert.ok(polling.status === 403 || version === "socket.io-4.0", String(polling.status));
    assert.equal((await polling.json()).code, 4);
    assert.deepEqual(refused, Array(2).fill(["too_many_attempts", "127.0.0.1"]));
    strangers[0].send("40"); // a guest counts on
    await until(() => made.roomkey.sockets().length === 2);
    assert.equal(await opened(t, made.url), false);
    strangers[1].terminate();
    await until(() => made.io.engine.clientsCount === 2);
    assert.ok(await opened(t, made.url));
    assert.ok(member.connected);
  });

  test(`an address has few rejected tokens, and any number of valid ones: ${version}`, async (t) => {
    const made = await world(t, { version, maxBadTokens: 2 });
    const refused = [];
    made.roomkey.onRefused((error) => refused.push(error.reason));
    const present = async (value) => {
      const { heard, closed } = await raw(made.url, [`40${JSON.stringify({ token: value })}`]);
      assert.ok(closed);
      return JSON.parse(heard.find((packet) => packet.startsWith("44")).slice(2)).data.reason;
    };
    const late = token("ada", { iat: 1, exp: 2 });
    for (let attempt = 0; attempt < 3; attempt++) assert.equal(await present(late), "token_expired");
    const reasons = [];
    for (let attempt = 0; attempt < 5; attempt++) reasons.push(await present("bad"));
    assert.deepEqual(reasons, [...Array(2).fill("malformed"), ...Array(3).fill("too_many_attempts")]);
    assert.deepEqual(refused, [...Array(3).fill("token_expired"), "malformed", "malformed", "too_many_attempts"]);
    assert.ok((await made.member("ada")).connected);
  });

  test(`a connection that joins no namespace is closed: ${version}`, async (t) => {
    const made = await world(t, { version, timeout: 100 });
    const { closed } = await raw(made.url, [], { ms: 3000 });
    assert.equal(closed, true);
  });

  test(`large packets before admission close the connection: ${version}`, async (t) => {
    const made = await world(t, { version, via: ["handshake", "authenticate"] });
    const padding = "x".repeat(20_000);
    made.io.on("connection", (socket) => socket.on("large", (text, answer) => answer(text.length)));
    assert.equal((await raw(made.url, [`40{"a":"${padding}"}`])).closed, true);
    const member = await made.member("ada");
    assert.equal(await ask(member, "large", "x".repeat(100_000)), 100_000);
    const open = await (await fetch(`${made.url}/socket.io/?EIO=4&transport=polling`)).text();
    const { sid } = JSON.parse(open.slice(1));
    const session = `${made.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    const body = `40{"a":"${"x".repeat(100_000)}"}`;
    assert.equal((await fetch(session, { method: "POST", body })).status, 400);
    await fetch(session); // the poll that fetches the end
    await until(() => made.io.engine.clientsCount === 1);
    const later = await made.member("bob", {}, { transports: ["polling"] });
    assert.equal(await ask(later, "large", "x".repeat(100_000)), 100_000);
    const upgraded = await made.member("eve", {}, { transports: ["polling", "websocket"] });
    await until(() => upgraded.io.engine.transport.name === "websocket");
    assert.equal(await ask(upgraded, "large", "x".repeat(100_000)), 100_000);
  });
}

test("CONNECT payloads that wait for a token are limited", async (t) => {
  const made = await world(t, { via: "authenticate", prepare: (io) => ["/a", "/b", "/c"].forEach((name) => io.of(name)) });
  const payload = JSON.stringify({ a: "x".repeat(7000) });
  const { heard } = await raw(made.url, [`40/a,${payload}`, `40/b,${payload}`, `40/c,${payload}`], { ms: 300 });
  assert.deepEqual(heard.map((text) => text.slice(0, 4)), ["40/a", "40/b", "44/c"]);
  assert.match(heard[2], /"code":"limit_exceeded".*"limit":"auth"/);
});

test("a subject has as many connections as it may, on all its namespaces", async (t) => {
  const made = await world(t, { subjectLimits: { sockets: 1 }, prepare: (io) => io.of("/other") });
  const first = await made.member("ada");
  const other = first.io.socket("/other", { auth: { token: token("ada") } });
  await new Promise((resolve) => other.on("connect", resolve)); // the same connection
  const second = made.client({ token: token("ada") });
  const [message, data] = await event(second, "connect_error");
  assert.deepEqual([message, data.code, data.limit], ["limit exceeded", "limit_exceeded", "sockets"]);
  await made.member("bob");
  first.close();
  other.close();
  await until(() => made.roomkey.sockets("ada").length === 0);
  await made.member("ada");
});

test("a subject's oldest connection makes room for its newest", async (t) => {
  const made = await world(t, { subjectLimits: { sockets: 2, whenFull: "end_oldest" } });
  const first = await made.member("ada");
  const second = await made.member("ada");
  const third = await made.member("ada");
  assert.equal((await event(first, "unauthorized"))[0].data.limit, "sockets");
  assert.equal((await event(first, "disconnect"))[0], "io server disconnect");
  assert.ok(second.connected && third.connected);
});

test("a guest counts for its subject from its token on", async (t) => {
  const made = await world(t, { subjectLimits: { sockets: 1 }, required: false });
  await made.member("ada");
  const guest = made.client({});
  await event(guest, "connect");
  const answer = await ask(guest, "authenticate", { token: token("ada") });
  assert.deepEqual([answer.ok, answer.error.limit], [false, "sockets"]);
  assert.ok((await ask(guest, "authenticate", { token: token("bob") })).expires_in > 0);
});

test("a subject sends as many events and joins as it may, from all its devices", async (t) => {
  const made = await world(t, {
    subjectLimits: { joins: 2, events: 4 },
    prepare: (io, roomkey) => {
      roomkey.policy.room("*", () => true);
      roomkey.serveRooms();
      io.on("connection", (socket) => socket.on("hi", (answer) => answer("hello")));
    },
  });
  const phone = await made.member("ada");
  const laptop = await made.member("ada");
  assert.equal(await ask(phone, "hi"), "hello");
  assert.deepEqual([await ask(phone, "join-room", "a"), await ask(laptop, "join-room", "b")], [{ ok: true }, { ok: true }]);
  assert.equal((await ask(laptop, "join-room", "c")).error.limit, "joins");
  const over = await ask(phone, "hi");
  assert.deepEqual([over.ok, over.error.code, over.error.limit], [false, "limit_exceeded", "events"]);
  assert.equal(await ask(await made.member("bob"), "hi"), "hello");
});

test("acknowledgements that nobody waits for close the connection", async (t) => {
  const made = await world(t);
  const acks = Array.from({ length: 120 }, (_, id) => `43${id}[]`);
  assert.equal((await raw(made.url, [`40{"token":"${token()}"}`, 40, ...acks.slice(0, 5)], { ms: 200 })).closed, false);
  assert.equal((await raw(made.url, [`40{"token":"${token()}"}`, 40, ...acks])).closed, true);
});

test("addresses are counted by their networks", () => {
  const networks = {
    "192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "::ffff:c000:201": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
    "2001:db8:1:2::": "2001:db8:1:2::", "2001:0db8:0001:0002::9": "2001:db8:1:2::", "fe80::1%eth0": "fe80:0:0:0::", "::1": "0:0:0:0::",
    "1::": "1:0:0:0::", "64:ff9b::192.0.2.1": "64:ff9b:0:0::", "": "", "unix:/run/x": "unix:/run/x", "1.2.3.4.5": "1.2.3.4.5",
  };
  for (const [address, network] of Object.entries(networks)) assert.equal(networkOf(address), network, address);
});

test("revocations are forgotten when no token can be meant any more", () => {
  const known = new Revocations(3);
  const add = (name, expiresAt, now = 0) => known.add({ kind: "token", name, issuer: null, issuedBefore: 0, expiresAt }, now);
  const isRevoked = (tokenId) => known.isRevoked({ tokenId, sessionId: null, subject: "ada", issuer: "x" });
  add("long", Infinity);
  add("a", 100);
  add("b", 5000);
  assert.deepEqual(["long", "a", "b", "c"].map(isRevoked), [true, true, true, false]);
  add("c", 9000); // one too many: what expires first is dropped
  assert.deepEqual(["long", "a", "b", "c"].map(isRevoked), [true, false, true, true]);
  add("c", 100, 9000); // 3600 seconds later than the tokens' end
  assert.deepEqual(["long", "b", "c"].map(isRevoked), [true, false, true]);
  assert.equal(known.size, 2);
});

test("limits that must fail", () => {
  const verifier = Verifier.hs256(SECRET, { audience: "chat" });
  const { Server } = createRequire(import.meta.url)("socket.io");
  const wrong = [
    { maxAnonymous: 0 }, { maxBadTokens: 0 }, { maxAnonymousPacket: 9000 }, { maxAnonymousPacket: 20_000.5 }, { subjectLimits: { sockets: 0 } },
    { subjectLimits: { events: Infinity } }, { subjectLimits: { joins: "2" } }, { subjectLimits: { whenFull: "wait" } }, { ownJoins: "no" },
    { required: 0 }, { required: "false" }, { userRooms: "" }, { via: ["handshake", "handshake"] },
    { warnbefore: 1000 }, { sources: { headers: true } }, { subjectLimits: { socket: 1 } }, { dpop: { url: "https://a.example/socket.io/", nonce: "x" } },
  ];
  for (const options of wrong) assert.throws(() => guard(new Server(), verifier, options), ConfigError, JSON.stringify(options));
  assert.throws(() => Verifier.hs256(SECRET, { audience: "chat", maxage: 60 }), /unknown option "maxage"/);
  guard(new Server(), verifier, { maxAnonymousPacket: null, warnBefore: undefined }).close();
});

test("rejected tokens are counted per minute and network, for few addresses", () => {
  const limit = new BadTokens(2, 2);
  const counted = (address, now) => limit.count(address, now);
  assert.deepEqual([1, 2, 3, 4].map(() => counted("192.0.2.1", 0)), ["within", "within", "first over", "over"]);
  assert.deepEqual([counted("::ffff:192.0.2.1", 30), counted("192.0.2.1", 30), counted("192.0.2.1", 61)], ["within", "over", "within"]);
  assert.deepEqual([counted("192.0.2.1", 61), counted("2001:db8::1", 61), counted("2001:db8::2", 61)], ["first over", "within", "within"]);
  counted("192.0.2.9", 61); // the oldest is forgotten
  assert.equal(limit.size, 2);
  assert.equal(counted("2001:db8::3", 61), "first over");
});
