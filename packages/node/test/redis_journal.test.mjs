// The journal in Redis: revocations of Python servers end sockets here, losses are noticed, forgeries dropped.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { ConfigError, Verifier, guard, redisJournal, roomsClaim } from "roomkey";
import { Server } from "socket.io";
import { needsRedis as options, startRedis } from "./support/redis.mjs";
import { ask, event, sleep, token, until, world, SECRET } from "./support/world.mjs";

const CLUSTER = "mW3xQ9vT5kB8nR2cJ7dL4fH6gZ1pS0yA";
const KEY = "{roomkey}:journal";
const closing = [];
let server;
let writer;

before(async () => {
  if (options.skip) return;
  server = await startRedis();
  writer = createClient({ url: server.url });
  writer.on("error", () => undefined);
  await writer.connect();
});

beforeEach(async () => {
  if (options.skip) return;
  await writer.sendCommand(["FLUSHALL"]);
  await writer.sendCommand(["XADD", KEY, "0-*", "epoch", "first"]);
});

after(async () => {
  for (const close of closing) await close();
  await writer?.quit();
  server?.stop();
});

const CLIENTS = {
  redis: async () => {
    const client = createClient({ url: server.url });
    client.on("error", () => undefined);
    await client.connect();
    closing.push(() => client.disconnect().catch(() => undefined));
    return client;
  },
  ioredis: async () => {
    const client = new Redis(server.port, "127.0.0.1");
    client.on("error", () => undefined);
    closing.push(() => client.disconnect());
    return client;
  },
};

const now = () => Date.now() / 1000;
let count = 0;

/** The fields of an entry, as a Python server writes it. */
function fields(kind, name, more = {}, secret = CLUSTER) {
  const content = { v: 1, from: "python", n: ++count, kind, name, issuer: null, before: now(), expires: now() + 900, ...more };
  const text = JSON.stringify(content);
  const key = createHmac("sha256", secret).update("roomkey cluster journal").digest();
  const mac = createHmac("sha256", key).update(`${KEY}\0${text}`).digest().subarray(0, 16).toString("base64url");
  return ["e", text, "m", mac];
}

const add = (...entry) => writer.sendCommand(["XADD", KEY, "0-*", ...fields(...entry)]);

async function guarded(t, name, more = {}) {
  const journal = redisJournal({ client: await CLIENTS[name](), secrets: [CLUSTER], ...more });
  const make = (io, options) => guard(io, Verifier.hs256(SECRET, { audience: "chat" }), { ...options, journal });
  const made = await world(t, { make });
  made.journal = journal;
  made.roomkey.serveRooms();
  made.roomkey.policy.room("*", roomsClaim);
  made.join = async (subject, claims) => {
    const client = made.client({ token: token(subject, claims) });
    await until(() => client.wasConnected || client.heard.length > 0);
    return client;
  };
  made.joined = async (subject, claims) => {
    for (let tries = 0; tries < 50; tries++) {
      const client = await made.join(subject, claims);
      if (client.wasConnected) return client;
      await sleep(50);
    }
    throw new Error("never admitted");
  };
  return made;
}

for (const name of Object.keys(CLIENTS)) {
  test(`revocations, rights and disconnects reach sockets through ${name}`, options, async (t) => {
    await add("subject", "early", { before: now() + 5 });
    const made = await guarded(t, name);
    const [ada, bob, eve] = [await made.joined("ada"), await made.joined("bob", { rooms: ["red", "blue"] }), await made.joined("eve")];
    assert.equal((await made.join("early")).heard[0][1], "jwt revoked");
    const begun = performance.now();
    await add("subject", "ada");
    await event(ada, "disconnect");
    assert.ok(performance.now() - begun < 400, `${performance.now() - begun} ms`); // it waits in Redis, and does not poll
    assert.equal(ada.heard[0][1].data.reason, "token_revoked");
    await ask(bob, "join-room", "red");
    await add("rights", "bob", { rights: { rooms: ["blue"] }, version: [2, "b"] });
    assert.deepEqual(await event(bob, "permissions_changed"), [{ left: ["red"] }]);
    await add("rights", "bob", { rights: { rooms: ["red"] }, version: [1, "a"] }); // late
    await add("disconnect", "eve");
    assert.deepEqual(await event(eve, "disconnect"), ["io server disconnect"]);
    assert.equal(eve.heard.length, 1);
    assert.equal((await made.join("eve")).connected, true);
    assert.equal((await ask(bob, "join-room", "red")).ok, false);
    assert.equal((await ask(bob, "join-room", "blue")).ok, true);
  });

  test(`a journal that was lost is read again through ${name}`, options, async (t) => {
    const made = await guarded(t, name);
    const ada = await made.joined("ada");
    await add("disconnect", "ada");
    await event(ada, "disconnect");
    const again = await made.joined("ada");
    const entry = await writer.sendCommand(["XRANGE", KEY, "-", "+"]);
    await writer.sendCommand(["FLUSHALL"]);
    await writer.sendCommand(["XADD", KEY, "0-*", "epoch", "second"]);
    await writer.sendCommand(["XADD", KEY, "0-*", ...entry[1][1]]); // written back by a Python server
    const bob = await made.joined("bob");
    await add("subject", "bob");
    await event(bob, "disconnect");
    assert.equal(again.connected, true); // the disconnect is not repeated
    const carl = await made.joined("carl");
    await writer.sendCommand(["XTRIM", KEY, "MAXLEN", "1"]);
    await add("subject", "carl");
    await event(carl, "disconnect");
  });

  test(`while Redis hangs, new tokens are refused and sockets stay with ${name}`, options, async (t) => {
    const made = await guarded(t, name);
    const ada = await made.joined("ada");
    server.suspend();
    try {
      await until(() => made.logs.length > 0);
      await sleep(1000);
      const begun = performance.now();
      assert.equal((await made.join("bob")).heard[0][2].code, "temporarily_unavailable");
      assert.ok(performance.now() - begun < 2000);
      assert.equal(ada.connected, true);
    } finally {
      server.resume();
    }
    await add("subject", "ada");
    await event(ada, "disconnect");
    await made.joined("bob");
  });
}

test("forged entries are dropped, counted and logged once", options, async (t) => {
  const made = await guarded(t, "redis");
  const ada = await made.joined("ada");
  const signed = fields("subject", "ada");
  const forged = {
    "bad signature": [fields("subject", "ada", {}, "vB7nM2kX9pQ4wE6rT8yU1iO3aS5dF0gH"), ["e", signed[1], "m", "x"]],
    "not signed": [["e", signed[1]], ["kind", "subject"]],
    "too large": [["e", " ".repeat(600_000), "m", signed[3]]],
    malformed: [fields("subject", "")],
    "unknown kind": [fields("pardon", "ada")],
  };
  for (const entry of Object.values(forged).flat()) await writer.sendCommand(["XADD", KEY, "0-*", ...entry]);
  await add("subject", "bob");
  await until(() => made.journal.counts.get("read") === 1);
  for (const [why, entries] of Object.entries(forged)) assert.equal(made.journal.counts.get(`dropped: ${why}`), entries.length, why);
  assert.equal(made.logs.length, Object.keys(forged).length);
  assert.ok(made.logs.some((log) => JSON.stringify(log).includes("bad signature; give all servers the same secrets")));
  assert.equal(ada.connected, true);
});

test("a client that is not connected is enough, and stays so", options, async (t) => {
  const client = createClient({ url: server.url }); // without a listener for its errors
  const made = await guarded(t, "redis", { client });
  const ada = await made.joined("ada");
  await add("subject", "ada");
  await event(ada, "disconnect");
  assert.equal(client.isOpen, false);
});

test("two secrets are accepted during a rotation", options, async (t) => {
  const made = await guarded(t, "redis", { secrets: ["vB7nM2kX9pQ4wE6rT8yU1iO3aS5dF0gH", CLUSTER] });
  const ada = await made.joined("ada");
  await add("subject", "ada");
  await event(ada, "disconnect");
});

test("a subject is disconnected in this process, and its token stays valid", async (t) => {
  const made = await world(t);
  const ada = await made.member("ada");
  const bob = await made.member("bob");
  assert.equal(made.roomkey.disconnect({ subject: "ada" }), 1);
  assert.deepEqual(await event(ada, "disconnect"), ["io server disconnect"]);
  assert.equal(bob.connected, true);
  assert.equal((await made.member("ada")).connected, true);
});

test("settings of a journal in Redis that must fail", () => {
  const good = { client: { duplicate() {} }, secrets: [CLUSTER] };
  redisJournal(good);
  for (const wrong of [{ client: {} }, { client: undefined }, { secrets: [] }, { secrets: CLUSTER }, { secrets: ["short"] }, { secrets: [1] }, { name: "a b" }, { staleAfter: 100 }, { key: "x" }]) {
    assert.throws(() => redisJournal({ ...good, ...wrong }), ConfigError, JSON.stringify(wrong));
  }
  assert.ok(new Server());
});
