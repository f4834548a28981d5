// Two nodes over Redis: what the other node broadcasts does not reach a socket in quarantine either.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { roomsClaim } from "roomkey";
import { needsRedis as options, startRedis } from "./support/redis.mjs";
import { ask, event, expired, raw, sleep, token, until, world } from "./support/world.mjs";

const clients = [];
let server;

before(async () => {
  if (!options.skip) server = await startRedis();
});

after(async () => {
  // Not disconnect(): an adapter that waits for its stream would be surprised by that.
  await Promise.all(clients.map((client) => client.quit().catch(() => undefined)));
  server?.stop();
});

async function redis() {
  const client = createClient({ url: server.url });
  client.on("error", () => undefined);
  await client.connect();
  clients.push(client);
  return client;
}

const ADAPTERS = {
  classic: async () => createAdapter(await redis(), await redis()),
  sharded: async () => createShardedAdapter(await redis(), await redis()),
  streams: async () => createStreamsAdapter(await redis()),
};

for (const [name, make] of Object.entries(ADAPTERS)) {
  test(`quarantine holds with a second node: ${name}`, options, async (t) => {
    const via = ["handshake", "authenticate"];
    const here = await world(t, { via, server: { adapter: await make() } });
    const there = await world(t, { via, server: { adapter: await make() } });
    const emitter = new Emitter(await redis());
    const client = here.client({});
    await event(client, "connect");
    const storm = setInterval(() => {
      there.io.emit("secret", 1);
      there.io.to(client.id).emit("secret", 2);
      there.io.to("room").emit("secret", 3);
      there.io.in(client.id).socketsJoin("room");
      emitter.emit("secret", 4);
      emitter.to(client.id).emit("secret", 5);
      emitter.in(client.id).socketsJoin("room");
    }, 10);
    t.after(() => clearInterval(storm));
    await sleep(400);
    assert.deepEqual(client.heard, []);
    assert.deepEqual(await there.io.fetchSockets(), []);
    await ask(client, "authenticate", { token: token("ada") });
    await until(() => client.heard.some(([heard]) => heard === "secret"));
    const [found] = await there.io.fetchSockets();
    assert.deepEqual([found.id, found.data.identity.subject], [client.id, "ada"]);
  });
}

test("a stolen session does not take the owner's away, where reading consumes it", options, async (t) => {
  const made = await world(t, {
    server: { adapter: await ADAPTERS.streams(), connectionStateRecovery: {} },
    prepare: (io, roomkey) => {
      roomkey.policy.room("*", roomsClaim);
      roomkey.serveRooms();
    },
  });
  const rooms = { rooms: ["red"] };
  const client = await made.member("ada", rooms);
  await ask(client, "join-room", "red");
  made.io.to("red").emit("news", 1);
  await event(client, "news");
  const { _pid: pid, _lastOffset: offset } = client;
  client.io.engine.close();
  await until(() => made.io.sockets.sockets.size === 0);
  made.io.to("red").emit("missed", 2);
  await sleep(100);
  const attempt = async (presented) => (await raw(made.url, [`40${JSON.stringify({ token: presented, pid, offset })}`], { ms: 1000 })).heard;
  for (const bad of ["bad", expired()]) assert.match((await attempt(bad)).join(), /^44/);
  const stolen = await attempt(token("eve", rooms));
  assert.match(stolen.join(), /^40/);
  assert.equal(stolen.length, 1);
  assert.match((await attempt(token("ada", rooms)))[0], /^42\["missed",2,/);
});
