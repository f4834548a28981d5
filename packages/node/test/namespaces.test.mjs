// Namespaces that strangers ask for: counted before anything is made for them, and removed with the last who waits there.
import assert from "node:assert/strict";
import { test } from "node:test";
import { VERSIONS, event, raw, sleep, token, until, world } from "./support/world.mjs";

const BOTH = ["handshake", "authenticate"];
const NAMES = Array.from({ length: 300 }, (_, number) => `/d-${number}`);
const dynamic = (io) => io.of(/^\/d-\d+$/);
const made = ({ io }) => [...io._nsps.keys()].filter((name) => name.startsWith("/d-"));

/** Open a polling session and send packets in one request. */
async function post(url, packets) {
  const session = `${url}/socket.io/?EIO=4&transport=polling`;
  const { sid } = JSON.parse((await (await fetch(session)).text()).slice(1));
  await fetch(`${session}&sid=${sid}`, { method: "POST", body: packets.join("\x1e") });
  return `${session}&sid=${sid}`;
}

for (const version of VERSIONS) {
  test(`one request makes few dynamic namespaces, which do not stay: ${version}`, async (t) => {
    const server = await world(t, { version, via: BOTH, maxNamespaces: 4, prepare: dynamic });
    let most = 0;
    server.io.on("new_namespace", () => (most = Math.max(most, made(server).length)));
    await post(server.url, NAMES.map((name) => `40${name},`));
    assert.ok(most <= 4 && made(server).length <= 4, `${most}, ${made(server).length}`);
    await until(() => made(server).length === 0);
    assert.ok(server.lines.some((line) => line.code === "protocol_violation" && line.check === "more than 4 namespaces"));
    assert.deepEqual([...server.io.parentNsps.values()].map((parent) => parent.children.size), [0]);
  });

  test(`a dynamic namespace goes with the last refused or undecided socket: ${version}`, async (t) => {
    const server = await world(t, { version, via: BOTH, timeout: 300, prepare: dynamic });
    await Promise.all([
      raw(server.url, ['40/d-1,{"token":"bad"}']),
      raw(server.url, ["40/d-2,", 20, "41/d-2,", '40/d-3,{"token":"bad"}']),
      raw(server.url, ["40/d-4,", '42/d-4,["message"]']),
      raw(server.url, ["40/d-5,"]), // until its deadline
      raw(server.url, ["40/d-6,"], { ms: 100 }), // its client leaves
    ]);
    await until(() => made(server).length === 0);
  });

  test(`a dynamic namespace stays where somebody was admitted, or that the application uses: ${version}`, async (t) => {
    const server = await world(t, { version, via: BOTH, prepare: dynamic });
    const member = await server.member("ada", {}, { namespace: "/d-1" });
    member.close();
    const stranger = server.client({}, { namespace: "/d-2" });
    await event(stranger, "connect");
    const used = server.io.of("/d-2");
    stranger.close();
    await raw(server.url, ['40/d-1,{"token":"bad"}']);
    await sleep(50);
    assert.deepEqual(made(server), ["/d-1", "/d-2"]);
    assert.equal(server.io.of("/d-2"), used);
  });

  test(`a function that answers late makes one namespace, and none for a client that has left: ${version}`, async (t) => {
    const waiting = [];
    const server = await world(t, { version, prepare: (io) => io.of((name, auth, next) => void waiting.push(() => next(null, true))) });
    const clients = ["ada", "bob"].map((name) => server.client({ token: token(name) }, { namespace: "/d-1" }));
    await until(() => waiting.length === 2);
    waiting.forEach((answer) => answer());
    await Promise.all(clients.map((client) => event(client, "connect")));
    server.io.of("/d-1").emit("hello");
    await Promise.all(clients.map((client) => event(client, "hello")));
    const leaving = server.client({}, { namespace: "/d-2" });
    await until(() => waiting.length === 3);
    leaving.close();
    await until(() => server.io.engine.clientsCount === 2);
    waiting[2]();
    await until(() => made(server).length === 1);
    assert.equal(server.roomkey.sockets().length, 2);
  });

  test(`a client that asks for unknown namespaces is closed: ${version}`, async (t) => {
    const server = await world(t, { version });
    const stranger = await raw(server.url, NAMES.map((name) => `40${name},`));
    assert.equal(stranger.closed, true);
    assert.ok(stranger.heard.length <= 3, String(stranger.heard.length));
    assert.equal(stranger.heard[0], '44/d-0,{"message":"Invalid namespace"}');
    const member = await raw(server.url, [`40{"token":"${token()}"}`, 50, ...NAMES.map((name) => `40${name},{}`)]);
    assert.equal(member.closed, true);
    assert.ok(member.heard.length <= 4, String(member.heard.length));
    const honest = await raw(server.url, [`40{"token":"${token()}"}`, 50, "40/unknown,"], { ms: 200 });
    assert.equal(honest.closed, false);
    assert.ok(server.lines.some((line) => line.code === "permission_denied" && line.check === "the server does not have this namespace"));
  });

  test(`binary packets before admission close the connection: ${version}`, async (t) => {
    const server = await world(t, { version, via: BOTH });
    const binary = ['451-["x",{"_placeholder":true,"num":0}]', '461-1["x",{"_placeholder":true,"num":0}]', `451-["authenticate",{"token":"${token()}","x":{"_placeholder":true,"num":0}}]`];
    for (const packet of binary) {
      for (const before of [[], ["40"]]) {
        const { closed, heard } = await raw(server.url, [...before, packet, Buffer.from([1])]);
        assert.deepEqual([closed, heard.some((text) => text.includes("authenticated"))], [true, false], packet);
      }
    }
    assert.ok(server.lines.filter((line) => line.check === "a binary packet before admission").length === 6);
    server.io.on("connection", (socket) => socket.on("data", (data, answer) => answer(data.length)));
    const member = await server.member("ada");
    assert.equal(await new Promise((resolve) => member.emit("data", Buffer.alloc(3), resolve)), 3);
  });

  test(`packets without a namespace close the connection: ${version}`, async (t) => {
    const server = await world(t, { version });
    for (const packet of ['42["x"]', '431["x"]', "41", '42/other,["x"]']) assert.equal((await raw(server.url, [packet])).closed, true, packet);
    assert.ok(server.lines.filter((line) => line.code === "protocol_violation").length === 4);
  });
}

for (const version of ["socket.io-4.6", "socket.io"]) {
  test(`cleanupEmptyChildNamespaces spares a namespace with a socket in quarantine: ${version}`, async (t) => {
    const server = await world(t, { version, via: BOTH, server: { cleanupEmptyChildNamespaces: true }, prepare: dynamic });
    const waiting = server.client({}, { namespace: "/d-1" });
    await event(waiting, "connect");
    await raw(server.url, ['40/d-1,{"token":"bad"}']);
    const visitor = await server.member("bob", {}, { namespace: "/d-1" });
    visitor.close();
    await until(() => server.roomkey.sockets("bob").length === 0);
    waiting.emit("authenticate", { token: token("ada") });
    await event(waiting, "authenticated");
    const later = await server.member("carl", {}, { namespace: "/d-1" });
    server.io.of("/d-1").emit("hello");
    await Promise.all([event(waiting, "hello"), event(later, "hello")]);
    waiting.close();
    later.close();
    await until(() => made(server).length === 0);
  });
}
