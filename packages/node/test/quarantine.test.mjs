// Every way into every kind of namespace, on every supported version: nothing passes before admission.
import assert from "node:assert/strict";
import { test } from "node:test";
import { VERSIONS, ask, event, expired, raw, token, until, world } from "./support/world.mjs";

const NAMESPACES = ["", "/static", "/dyn-1", "/later"];
const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]];

/** Handlers in every namespace, and a storm of broadcasts to all, to a room and to socket IDs; returns how to stop and wait. */
function application(io, ids, handled) {
  const onConnection = (socket) => {
    handled.push(["connection", socket.data.identity.subject]);
    socket.emit("welcome", socket.data.identity.subject);
    socket.onAny((name) => handled.push(["any", name]));
    socket.use(([name], next) => (handled.push(["use", name]), next()));
    socket.on("hi", (answer) => answer(`hello ${socket.data.identity.subject}`));
  };
  io.on("connection", onConnection);
  io.of("/static").on("connection", onConnection);
  io.of(/^\/dyn-\d+$/).on("connection", onConnection);
  setImmediate(() => io.of("/later").on("connection", onConnection));
  let rounds = 0;
  const timer = setInterval(() => {
    rounds += 1;
    for (const namespace of io._nsps.values()) {
      namespace.emit("secret", 1);
      namespace.to("room").emit("secret", 2);
      namespace.adapter.broadcast({ type: 2, data: ["secret", 3], nsp: namespace.name }, { rooms: new Set(), except: new Set(), flags: {} });
      for (const id of ids) namespace.to(id).emit("secret", 4);
    }
  }, 5);
  const storms = (count) => until(() => rounds >= count, 5000, () => `${rounds} of ${count} storms`);
  return { stop: () => clearInterval(timer), pass: () => storms(rounds + 8) };
}

for (const version of VERSIONS) {
  for (const transports of TRANSPORTS) {
    test(`quarantine holds: ${version}, ${transports}`, async (t) => {
      const ids = new Set();
      const handled = [];
      let storm;
      const made = await world(t, {
        version,
        via: ["handshake", "authenticate"],
        prepare: (io) => {
          storm = application(io, ids, handled);
          t.after(storm.stop);
        },
      });
      for (const namespace of NAMESPACES) {
        handled.length = 0;
        const client = made.client({}, { namespace, transports });
        await event(client, "connect");
        ids.add(client.id);
        await storm.pass();
        client.emit("authenticate", { token: "bad" });
        const [refusal] = await event(client, "unauthorized");
        assert.equal(refusal.data.code, "invalid_token");
        assert.deepEqual(refusal.inner, { message: "jwt malformed" });
        await storm.pass();
        assert.deepEqual(handled, [], namespace);
        assert.deepEqual(client.heard.map(([name]) => name), ["unauthorized"], namespace);
        const acknowledged = await ask(client, "authenticate", { token: token("ada") });
        assert.ok(acknowledged.expires_in > 590, namespace);
        assert.equal(await ask(client, "hi"), "hello ada");
        const names = client.heard.map(([name]) => name).filter((name) => name !== "secret");
        assert.deepEqual(names, ["unauthorized", "welcome", "authenticated"], namespace);
        await until(() => client.heard.some(([name]) => name === "secret"));
        assert.deepEqual(handled.filter(([, name]) => name === "authenticate"), []);
        const renewal = token("ada", { exp: Math.floor(Date.now() / 1000) + 900 });
        assert.ok((await ask(client, "authenticate", { token: renewal })).expires_in > 890);
        assert.deepEqual(handled.filter(([, name]) => name === "authenticate"), []);
        client.close();
      }
      for (const namespace of NAMESPACES) {
        const member = await made.member("grace", {}, { namespace, transports });
        assert.equal(await ask(member, "hi"), "hello grace");
        member.close();
        const refused = made.client({ token: expired() }, { namespace, transports });
        await event(refused, "connect_error");
        assert.equal(refused.heard[0][1], "jwt expired");
        assert.equal(refused.heard[0][2].reason, "token_expired");
        refused.close();
      }
      await until(() => made.io.engine.clientsCount === 0);
      assert.deepEqual(made.roomkey.sockets(), []);
    });
  }

  test(`what no honest client does: ${version}`, async (t) => {
    const made = await world(t, { version, via: ["handshake", "authenticate"], timeout: 400 });
    const seen = [];
    made.io.on("connection", (socket) => seen.push(socket.data.identity.subject));
    const bad = '42["authenticate",{"token":"x"}]';
    const three = await raw(made.url, ["40", 30, bad, 30, bad, 30, bad]);
    assert.equal(three.closed, true);
    assert.deepEqual(three.heard.slice(1).map((text) => text.slice(0, 16)), [...Array(3).fill('42["unauthorized'), "41"]);
    const late = await raw(made.url, ["40"]);
    assert.equal(late.closed, true);
    assert.match(late.heard[1], /authentication_timeout/);
    assert.equal(late.heard[2], "41");
    const early = await raw(made.url, ["40", 30, '42["hi"]']);
    assert.equal(early.closed, true);
    assert.match(early.heard[1], /credentials_required/);
    for (const payload of ["null", "5", '"x"', "[]", '{"token":null}', '{"pid":"x","offset":"y"}', '{"pid":{},"offset":[]}']) {
      const odd = await raw(made.url, [`40${payload}`], { ms: 150 });
      assert.ok(odd.heard.every((text) => !text.includes("welcome")), payload); // and the server lives on
    }
    for (const second of ["40", `40{"token":"${token("eve")}"}`]) {
      assert.equal((await raw(made.url, ["40", 30, second])).closed, true);
      assert.equal((await raw(made.url, [`40{"token":"${token("ada")}"}`, 60, second])).closed, true);
      const race = await raw(made.url, [`40{"token":"${token("ada")}"}`, second]);
      assert.equal(race.closed, true);
    }
    assert.ok(!seen.includes("eve"), String(seen));
    const gone = made.client({});
    await event(gone, "connect");
    gone.io.engine.close();
    await until(() => made.io.engine.clientsCount === 0);
    assert.equal(made.io.sockets.sockets.size, 0);
    assert.equal(made.io.sockets.adapter.sids.size, 0);
    assert.equal(made.io.sockets._preConnectSockets?.size ?? 0, 0);
    assert.deepEqual(made.logs, []);
  });
}
