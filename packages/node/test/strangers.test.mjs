// What strangers send: it costs them a connection, and the server next to nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Verifier, guard } from "roomkey";
import { SECRET, VERSIONS, event, raw, token, until, world } from "./support/world.mjs";

test("a header of spaces or quotes costs no time", async (t) => {
  const made = await world(t, { sources: { cookie: "token", query: "token" }, origins: ["https://chat.example"] });
  const length = 64_000;
  const origin = "https://chat.example";
  const requests = {
    "spaces in a scheme": { headers: { authorization: `a${" ".repeat(length)}b` } },
    "tabs after a scheme": { headers: { authorization: `Bearer\t${"\t".repeat(length)}b` } },
    "spaces in a cookie": { headers: { origin, cookie: `token=a${" ".repeat(length)}b` } },
    "spaces in a cookie's name": { headers: { origin, cookie: `a${" ".repeat(length)}b=c` } },
    "quotes in a cookie": { headers: { origin, cookie: `token=a${'"'.repeat(length)}b` } },
    "one parameter again and again": { headers: {}, url: `/?${"token=a&".repeat(length / 8)}` },
  };
  for (const [name, request] of Object.entries(requests)) {
    const begun = performance.now();
    await assert.rejects(made.roomkey.verifyRequest(request), { status: 401 }, name);
    assert.ok(performance.now() - begun < 500, name); // quadratic, it takes 4 seconds
  }
});

for (const version of VERSIONS) {
  test(`what only servers send, and events without a name, close the connection: ${version}`, async (t) => {
    const handled = [];
    const made = await world(t, { version, prepare: (io) => io.on("connection", (socket) => socket.onAny((name) => handled.push(name))) });
    for (const packet of ['44{"message":"x"}', '42[5,"x"]', "42[null]", "42[{}]", '42[""]', '42["disconnect"]', '42["*"]']) {
      const { closed } = await raw(made.url, [`40{"token":"${token()}"}`, 60, packet]);
      assert.equal(closed, true, packet);
    }
    assert.deepEqual(handled, []);
  });

  test(`an event during the decision about a handshake closes the connection: ${version}`, async (t) => {
    const handled = [];
    const made = await world(t, {
      version,
      prepare: (io, roomkey) => {
        roomkey.policy.namespace("/", () => new Promise(() => undefined));
        io.on("connection", (socket) => handled.push("connection", socket.onAny((name) => handled.push(name))));
      },
    });
    for (const packet of ['42["hi"]', '421["join-room","red"]', '431["x"]']) {
      const { closed } = await raw(made.url, [`40{"token":"${token()}"}`, 30, packet]);
      assert.equal(closed, true, packet);
    }
    assert.deepEqual(handled, []);
  });
}

test("a client that does not wait for the answers to its tokens is closed", async (t) => {
  let verifies = true;
  const verifier = Verifier.hs256(SECRET, { audience: "chat" });
  const slow = { verify: (...given) => (verifies ? verifier.verify(...given) : new Promise(() => undefined)) };
  const made = await world(t, { make: (io, options) => guard(io, slow, options) });
  const client = await made.member("ada");
  verifies = false;
  for (let count = 0; count < 20; count++) client.emit("authenticate", { token: token() });
  await event(client, "disconnect");
  await until(() => made.lines.some((line) => line.code === "protocol_violation"));
});

test("two Authorization headers are not one token", async (t) => {
  const made = await world(t);
  const [ada, bob] = [`Bearer ${token("ada")}`, `Bearer ${token("bob")}`];
  const requests = [
    { headers: { authorization: ada }, rawHeaders: ["Authorization", ada, "authorization", bob] },
    { headers: { authorization: [ada, bob] } },
  ];
  for (const request of requests) {
    await assert.rejects(made.roomkey.verifyRequest(request), ({ cause }) => cause.code === "credentials_bad_format");
  }
  assert.equal((await made.roomkey.verifyRequest({ headers: { authorization: ada }, rawHeaders: ["Authorization", ada] })).subject, "ada");
});

for (const version of VERSIONS) {
  test(`tokens of a handshake do not travel to other nodes: ${version}`, async (t) => {
    const made = await world(t, { version, sources: { query: "token" } });
    const presented = token("ada");
    const more = { extraHeaders: { Authorization: `Bearer ${presented}` }, query: { token: presented } };
    await event(made.client({ token: presented, nick: "ada" }, more), "connect");
    const [{ handshake }] = await made.io.fetchSockets();
    assert.ok(!JSON.stringify(handshake).includes(presented)); // as an adapter sends it
    assert.deepEqual([handshake.auth.nick, handshake.auth.token, handshake.query.token], ["ada", presented, presented]);
  });
}
