// What goes wrong in the application's own functions: no process ends, and no client waits for ever.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Verifier, guard } from "roomkey";
import { SECRET, ask, event, raw, token, until, world } from "./support/world.mjs";

const throws = () => {
  throw new Error("the application's mistake");
};
const rejects = async () => throws();
const EDGES = ["socket.io-4.0", "socket.io"];

for (const [how, fails] of Object.entries({ throws, rejects })) {
  test(`a log, an audit log and a callback that ${how} change nothing`, async (t) => {
    const made = await world(t, {
      log: fails, audit: fails, timeout: 200, via: ["handshake", "authenticate"],
      prepare: (io, roomkey) => {
        roomkey.onRefused(fails);
        roomkey.policy.event("ruled", fails);
        io.on("connection", (socket) => socket.on("handled", fails));
        io.of("/middleware").use(fails);
      },
    });
    assert.equal((await raw(made.url, ['40{"token":"bad"}'])).closed, true);
    assert.equal((await raw(made.url, ["40"])).closed, true); // a timer ends it
    const client = await made.member("ada");
    assert.equal((await ask(client, "handled")).error.code, "temporarily_unavailable");
    assert.equal((await ask(client, "ruled")).error.code, "permission_denied");
    const declined = made.client({ token: token() }, { namespace: "/middleware" });
    assert.equal((await event(declined, "connect_error"))[1].code, "temporarily_unavailable");
  });
}

for (const [how, read] of Object.entries({ throws, rejects, "reads NaN": () => NaN, "reads nothing": () => undefined })) {
  test(`while a clock ${how}, the time goes on`, async (t) => {
    let works = true;
    let reads = 0;
    const made = await world(t, { clock: () => (reads++, works ? Date.now() / 1000 + 10_000 : read()) });
    const later = { iat: Math.floor(Date.now() / 1000) + 10_000, exp: Math.floor(Date.now() / 1000) + 10_600 };
    const client = await made.member("ada", later);
    works = false;
    reads = 0;
    await made.member("bob", later);
    const [refused] = await event(made.client({ token: token("eve") }), "connect_error");
    assert.equal(refused, "jwt expired");
    await made.roomkey.revoke({ subject: "ada" });
    await event(client, "disconnect");
    assert.equal((await event(made.client({ token: token("ada", later) }), "connect_error"))[0], "jwt revoked");
    assert.ok(reads < 50, `${reads} reads`); // no timer runs wild
    assert.deepEqual(made.logs.map(([message]) => message), ["the clock failed, so the time goes on from what it read last"]);
  });
}

for (const version of EDGES) {
  test(`a middleware's data that is not JSON is left out: ${version}`, async (t) => {
    const circle = {};
    circle.circle = circle;
    for (const data of [circle, { big: 1n }]) {
      const made = await world(t, { version, prepare: (io) => io.use((_, next) => next(Object.assign(new Error("not today"), { data }))) });
      const [message, told] = await event(made.client({ token: token() }), "connect_error");
      assert.deepEqual([message, told.code], ["not today", "permission_denied"]);
    }
  });
}

test("changed rights of an expired token end its socket", async (t) => {
  let ahead = 0;
  const made = await world(t, { grace: 0, clock: () => Date.now() / 1000 + ahead });
  const client = await made.member("ada");
  ahead = 700;
  assert.equal(await made.roomkey.update("ada", { roles: ["admin"] }), 1);
  assert.equal((await event(client, "unauthorized"))[0].data.reason, "token_expired");
});

test("an adapter that fails to join and to leave is logged", async (t) => {
  const made = await world(t, {
    prepare: (io, roomkey) => {
      roomkey.policy.room("*", (who, { room }) => who.rooms.includes(room));
      roomkey.serveRooms();
      const { adapter } = io.sockets;
      const { addAll } = adapter;
      adapter.addAll = (id, rooms) => (rooms.has("user:ada") ? rejects() : addAll.call(adapter, id, rooms));
      adapter.del = rejects;
    },
  });
  const client = await made.member("ada", { rooms: ["red"] });
  assert.equal((await ask(client, "join-room", "red")).ok, true);
  await made.roomkey.update("ada", { rooms: [] });
  assert.deepEqual((await event(client, "permissions_changed"))[0], { left: ["red"] });
  await until(() => made.logs.length === 2);
  assert.deepEqual(made.logs.map(([message]) => message), ["joining a room failed", "leaving a room failed"]);
});

test("a room that cannot be written as text is denied like any other", async (t) => {
  const made = await world(t, { prepare: (_, roomkey) => roomkey.serveRooms() });
  const client = await made.member("ada");
  for (const room of [{ toString: 5, valueOf: 5 }, [[{ toString: 5 }]], ["a"], null, 5, "a\u0000b"]) {
    assert.equal((await ask(client, "join-room", room)).error.code, "permission_denied");
  }
  assert.equal(made.lines.filter((line) => line.event === "denied").length, 6);
});

for (const version of EDGES) {
  for (const [how, fails] of Object.entries({ throws, rejects })) {
    test(`what socket.io calls for a client ${how}: ${version}`, async (t) => {
      const made = await world(t, {
        version,
        prepare: (io) => {
          io.on("connection", (socket) => {
            socket.onAny(fails);
            socket.onAnyOutgoing?.(fails); // since 4.5
            socket.on("handled", (answer) => answer("well"));
            socket.on("asks", () => socket.emit("question", fails));
            socket.on("refused", () => assert.fail("it was refused"));
            socket.use((packet, next) => (packet[0] === "refused" ? fails(packet, next) : next()));
          });
          io.of(fails);
          io.on("elsewhere", fails);
        },
      });
      const client = await made.member("ada");
      client.on("question", (answer) => answer("x"));
      assert.equal(await ask(client, "handled"), "well");
      assert.equal((await ask(client, "refused")).error.code, "temporarily_unavailable");
      client.emit("asks");
      await until(() => made.logs.some(([message]) => message.startsWith("an acknowledgement's callback")));
      const unknown = made.client({ token: token() }, { namespace: "/unknown" });
      assert.equal((await event(unknown, "connect_error"))[0], "Invalid namespace");
      if (version === "socket.io-4.0") return; // it has no serverSideEmit
      made.io.sockets._onServerSideEmit(["elsewhere"]); // as an adapter does
      await until(() => made.logs.some(([message]) => message === "a listener of 'elsewhere' failed"));
    });
  }
}

test("a catch-all listener can be removed", async (t) => {
  const seen = [];
  const listener = (name) => seen.push(name);
  const made = await world(t, {
    prepare: (io) => io.on("connection", (socket) => {
      socket.onAny(listener);
      socket.on("stop", (answer) => (socket.offAny(listener), answer()));
      socket.on("more", (answer) => answer());
    }),
  });
  const client = await made.member("ada");
  for (const name of ["stop", "more"]) await ask(client, name);
  assert.deepEqual(seen, ["stop"]);
});

test("the function of a dynamic namespace that was registered before the guard is guarded, too", async (t) => {
  const made = await world(t, { make: (io, options) => (io.of(rejects), guard(io, Verifier.hs256(SECRET, { audience: "chat" }), options)) });
  assert.equal((await event(made.client({}, { namespace: "/x" }), "connect_error"))[0], "Invalid namespace");
});
