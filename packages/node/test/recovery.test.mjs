// Connection state recovery: the token is verified before anything is restored or replayed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BadSignature, Verifier, guard, roomsClaim } from "roomkey";
import { SECRET, ask, event, expired, raw, sleep, token, until, world } from "./support/world.mjs";

const SERVER = { connectionStateRecovery: {} };

/** A member that was in a room, lost its connection, and missed an event. */
async function lost(t, { version, claims = { rooms: ["red"] }, ...options }) {
  const made = await world(t, {
    version, server: SERVER, ...options,
    prepare: (io, roomkey) => {
      roomkey.policy.room("*", roomsClaim);
      roomkey.serveRooms();
      options.prepare?.(io, roomkey);
    },
  });
  const good = token("ada", claims);
  const client = made.client({ token: good });
  await event(client, "connect");
  await ask(client, "join-room", "red");
  made.io.to("red").emit("news", 1);
  await event(client, "news");
  const session = { pid: client._pid, offset: client._lastOffset, id: client.id };
  assert.ok(session.pid && session.offset);
  client.io.engine.close();
  await until(() => made.io.sockets.sockets.size === 0);
  made.io.to("red").emit("missed", 2);
  return { made, session, good };
}

const attempt = (made, session, presented) => {
  const auth = { ...(presented && { token: presented }), pid: session.pid, offset: session.offset };
  return raw(made.url, [`40${JSON.stringify(auth)}`], { ms: 1000 });
};

for (const version of ["socket.io-4.6", "socket.io"]) {
  test(`the owner recovers, with the new identity: ${version}`, async (t) => {
    const restored = [];
    const { made, session } = await lost(t, {
      version,
      prepare: (io) => io.on("connection", (socket) => restored.push([socket.recovered, socket.data.identity.tokenId])),
    });
    const { heard } = await attempt(made, session, token("ada", { rooms: ["red"], jti: "later" }));
    assert.match(heard[0], /^42\["missed",2,/);
    assert.deepEqual(JSON.parse(heard[1].slice(2)), { sid: session.id, pid: session.pid });
    assert.deepEqual(restored.at(-1), [true, "later"]);
  });

  test(`a recovered socket is still in the policy's rooms: ${version}`, async (t) => {
    const { made, session } = await lost(t, { version });
    const frames = [
      `40${JSON.stringify({ token: token("ada", { rooms: ["red"] }), pid: session.pid, offset: session.offset })}`, 50,
      `42["authenticate",{"token":"${token("ada", { rooms: [], exp: Math.floor(Date.now() / 1000) + 900 })}"}]`,
    ];
    const { heard } = await raw(made.url, frames, { ms: 1000 });
    assert.ok(heard.includes('42["permissions_changed",{"left":["red"]}]'), String(heard));
    assert.equal(made.io.sockets.adapter.rooms.has("red"), false);
  });

  test(`a refused attempt receives nothing and consumes nothing: ${version}`, async (t) => {
    const { made, session, good } = await lost(t, { version });
    for (const presented of [undefined, "bad", expired(), `${good}x`]) {
      const { heard, closed } = await attempt(made, session, presented);
      assert.equal(closed, true);
      assert.equal(heard.length, 1, String(heard));
      assert.match(heard[0], /^44/);
    }
    await made.roomkey.revoke({ tokenId: JSON.parse(Buffer.from(good.split(".")[1], "base64url")).jti });
    assert.match((await attempt(made, session, good)).heard.join(), /^44.*jwt revoked[^,]*/);
    const { heard } = await attempt(made, session, token("ada", { rooms: ["red"] }));
    assert.match(heard[0], /^42\["missed",2,/);
  });

  test(`a stolen session is worth nothing to another subject: ${version}`, async (t) => {
    const { made, session } = await lost(t, { version });
    const stolen = await attempt(made, session, token("eve", { rooms: ["red"] }));
    assert.equal(stolen.heard.length, 1);
    assert.match(stolen.heard[0], /^40/);
    assert.ok(!stolen.heard[0].includes(session.id) && !stolen.heard[0].includes(session.pid));
    assert.match((await attempt(made, session, token("ada", { rooms: ["red"] }))).heard[0], /^42\["missed",2,/);
  });

  test(`a room that is no longer allowed is not replayed: ${version}`, async (t) => {
    const { made, session } = await lost(t, { version });
    const { heard } = await attempt(made, session, token("ada", { rooms: ["blue"] }));
    assert.equal(heard.length, 1);
    assert.match(heard[0], /^40/);
    assert.equal(made.io.sockets.adapter.rooms.has("red"), false);
  });

  test(`a middleware that refuses comes before the replay: ${version}`, async (t) => {
    let refuses = false;
    const { made, session } = await lost(t, {
      version, prepare: (io) => io.use((_, next) => next(refuses ? new Error("not today") : undefined)),
    });
    refuses = true;
    const { heard } = await attempt(made, session, token("ada", { rooms: ["red"] }));
    assert.deepEqual([heard.length, heard[0].slice(0, 2)], [1, "44"]);
  });

  test(`two recoveries at once and one beside the living socket are one identity: ${version}`, async (t) => {
    const { made, session } = await lost(t, { version });
    const auth = (subject) => `40${JSON.stringify({ token: token(subject, { rooms: ["red"] }), pid: session.pid, offset: session.offset })}`;
    const race = await raw(made.url, [auth("ada"), auth("eve")], { ms: 1000 });
    assert.equal(race.closed, true);
    await sleep(20);
    const client = made.client({ token: token("ada", { rooms: ["red"] }), pid: session.pid, offset: session.offset });
    await event(client, "connect");
    const second = await attempt(made, session, token("ada", { rooms: ["red"] }));
    assert.ok(second.heard.every((text) => !text.includes(`"sid":"${client.id}"`)));
  });

  test(`a socket that authenticates later is not restored: ${version}`, async (t) => {
    const { made, session } = await lost(t, { version, via: ["handshake", "authenticate"] });
    const { heard } = await attempt(made, session, undefined);
    assert.equal(heard.length, 1);
    assert.ok(!heard[0].includes("pid"));
  });

  test(`one session is restored once, whoever asks at the same time: ${version}`, async (t) => {
    const verifier = Verifier.hs256(SECRET, { audience: "chat" });
    const slow = { verify: async (...given) => (await sleep(20), verifier.verify(...given)) };
    const { made, session } = await lost(t, { version, make: (io, options) => guard(io, slow, options) });
    const attempts = [1, 2, 3].map(() => attempt(made, session, token("ada", { rooms: ["red"] })));
    const ids = (await Promise.all(attempts)).map(({ heard }) => JSON.parse(heard.at(-1).slice(2)).sid);
    assert.equal(new Set(ids).size, 3);
    assert.equal(ids.filter((id) => id === session.id).length, 1);
  });

  test(`a flood that asks for sessions is not verified: ${version}`, async (t) => {
    let verified = 0;
    const verify = () => {
      verified += 1;
      throw new BadSignature();
    };
    const made = await world(t, { version, server: { connectionStateRecovery: {} }, make: (io, options) => guard(io, { verify }, options) });
    const url = `${made.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1));
    const packets = Array(1000).fill('40{"token":"x","pid":"a","offset":"b"}').join("\x1e");
    await fetch(`${url}&sid=${sid}`, { method: "POST", body: packets, headers: { "Content-Type": "text/plain" } });
    await until(() => made.lines.some((line) => line.code === "protocol_violation"));
    assert.ok(verified <= 200, `${verified} verifications`);
  });

  test(`a store that does not answer is not waited for: ${version}`, async (t) => {
    const { made, session } = await lost(t, { version, decisionTimeout: 100 });
    made.io.sockets.adapter.restoreSession = () => new Promise(() => undefined);
    const { heard } = await attempt(made, session, token("ada", { rooms: ["red"] }));
    assert.match(heard[0], /^40/);
    assert.ok(!heard[0].includes(session.pid));
  });
}
