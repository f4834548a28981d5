// Whatever a client sends, in whatever order: nothing passes before admission, nothing is left, and the process lives on.
import assert from "node:assert/strict";
import { test } from "node:test";
import { VERSIONS, ask, raw, token, until, world } from "./support/world.mjs";

const SECRET_TEXT = "confidential";

/** Numbers that are the same in each run (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const bad = token("eve", { aud: "other" });
const FRAMES = [
  "40", "40/a,", "40/dyn-1,", "40/nowhere,", "40null", "40[]", "40{}", '40{"token":null}', `40{"token":"${bad}"}`, `40/a,{"token":"${bad}"}`,
  '40{"token":{"a":1}}', '40{"pid":"x","offset":"1-0"}', `40{"token":"${bad}","pid":"x","offset":"1-0"}`, "41", "41/a,", "41/nowhere,",
  '42["read"]', '42/a,["read"]', '420["read"]', '42["authenticate"]', '421["authenticate",{}]', `42["authenticate",{"token":"${bad}"}]`,
  `42/a,["authenticate",{"token":"${bad}"}]`, '42["authenticate",null]', '42["authenticate",[[]]]', '42["connect"]', '42["disconnect"]', "42[]", "42{}",
  "42", "43[]", "431[]", '430["x"]', '451-["read",{"_placeholder":true,"num":0}]', "44", '44{"message":"x"}', "45", "46", "47", "4", "x", "0", "1", "3", "5",
  '42["join-room","red"]', '421["join-room","red"]', '42["say","red","x"]', '42["__proto__"]', '42["error"]', 5, 20,
];

for (const version of VERSIONS) {
  test(`random frames: ${version}`, async (t) => {
    const next = random(version.length * 7919);
    const handled = [];
    const made = await world(t, {
      version, via: ["handshake", "authenticate"], timeout: 1000, maxAttempts: 2,
      prepare: (io, roomkey) => {
        roomkey.policy.room("*", () => true);
        roomkey.serveRooms().relay("say");
        const serve = (socket) => socket.onAny((name) => handled.push([socket.data.identity.subject, name]));
        for (const namespace of [io, io.of("/a"), io.of(/^\/dyn-\d$/)]) {
          namespace.use((socket, next) => (handled.push([socket.data.identity.subject, "middleware"]), next()));
          namespace.on("connection", (socket) => (handled.push([socket.data.identity.subject, "connection"]), serve(socket)));
        }
        const storm = setInterval(() => [...io._nsps.values()].forEach((nsp) => nsp.emit("news", SECRET_TEXT)), 3);
        t.after(() => clearInterval(storm));
      },
    });
    for (let batch = 0; batch < 12; batch++) {
      const all = Array.from({ length: 15 }, () => raw(made.url, Array.from({ length: 1 + Math.floor(next() * 6) }, () => FRAMES[Math.floor(next() * FRAMES.length)]), { ms: 160 }));
      for (const { heard } of await Promise.all(all)) assert.ok(!heard.join().includes(SECRET_TEXT), String(heard));
    }
    assert.deepEqual(handled, []);
    await until(() => made.io.engine.clientsCount === 0);
    for (const namespace of made.io._nsps.values()) {
      if (!namespace.sockets) continue;
      assert.deepEqual([namespace.sockets.size, namespace._preConnectSockets?.size ?? 0], [0, 0], namespace.name);
      assert.equal(namespace.adapter.sids?.size ?? 0, 0, namespace.name);
    }
    const member = await made.member("ada");
    assert.deepEqual(await ask(member, "join-room", "red"), { ok: true });
    assert.deepEqual(made.logs, []);
  });
}
