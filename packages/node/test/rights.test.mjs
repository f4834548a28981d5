// What the policy says about the application's own joins, why it says so, and what changes while something is decided.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, PermissionDenied, Policy, Verifier, guard, hasRole, roomsClaim } from "roomkey";
import { SECRET, VERSIONS, ask, event, token, until, world } from "./support/world.mjs";

/** A promise and its ends. */
function deferred() {
  let ends;
  const promise = new Promise((resolve, reject) => (ends = { resolve, reject }));
  return { promise, ...ends };
}

for (const version of VERSIONS) {
  test(`the policy decides about the application's own joins: ${version}`, async (t) => {
    const policy = new Policy().room("team:{team}", (who, { team }) => hasRole(who, team)).room("slow", async () => true);
    const made = await world(t, {
      version, policy,
      prepare: (io) => io.on("connection", (socket) => {
        socket.on("try", async (room, answer) => {
          await socket.join(room);
          answer([...socket.rooms].includes(room));
        });
        socket.on("at once", (answer) => {
          socket.join("team:red");
          answer(socket.rooms.has("team:red"));
        });
        socket.on("ignored", (answer) => {
          socket.join(["team:red", "team:blue"]); // nobody catches this
          answer(socket.rooms.has("team:red"));
        });
      }),
    });
    const client = await made.member("ada", { roles: ["red"] });
    const socket = made.io.sockets.sockets.get(client.id);
    assert.equal(await ask(client, "at once"), true); // without waiting, as in socket.io
    socket.leave("team:red");
    assert.equal(await ask(client, "ignored"), false);
    assert.equal(await ask(client, "try", "team:red"), true);
    assert.equal(await ask(client, "try", "slow"), true);
    for (const room of ["team:blue", "other", "user:bob", 5, { a: 1 }, "x".repeat(20), `${"x".repeat(20)}.${"y".repeat(20)}`]) {
      const { ok, error } = await ask(client, "try", room);
      assert.deepEqual([ok, error.code], [false, "permission_denied"], String(room));
    }
    assert.equal(await ask(client, "try", "user:ada"), true);
    assert.deepEqual(made.roomkey.sockets("ada")[0].rooms.sort(), ["slow", "team:red"]);
    if (version !== "socket.io-4.0") {
      made.io.socketsJoin(["team:blue"]);
      made.io.socketsJoin("team:red");
      assert.equal(socket.rooms.has("team:blue"), false);
    }
    await made.roomkey.update("ada", { roles: [] });
    assert.deepEqual((await event(client, "permissions_changed"))[0], { left: ["team:red"] });
    assert.equal(socket.rooms.has("team:red"), false);
    socket.leave("slow");
    assert.deepEqual(made.roomkey.sockets("ada")[0].rooms, []);
  });
}

for (const version of VERSIONS) {
  test(`a middleware joins rooms that the policy allows, and a refused socket leaves them: ${version}`, async (t) => {
    const policy = new Policy().room("red", () => true);
    const made = await world(t, {
      version, policy,
      prepare: (io, roomkey) => io.use(async (socket, next) => {
        await roomkey.enterRoom(socket, "red");
        assert.equal(roomkey.identity(socket).subject, socket.data.identity.subject);
        await assert.rejects(async () => socket.join("blue"), PermissionDenied);
        next(socket.data.identity.subject === "eve" ? new Error("no") : undefined);
      }),
    });
    const client = await made.member("ada");
    assert.ok(made.io.sockets.sockets.get(client.id).rooms.has("red"));
    await event(made.client({ token: token("eve") }), "connect_error");
    assert.deepEqual([...made.io.sockets.adapter.sids.keys()], [client.id]);
    assert.deepEqual([...made.io.sockets.adapter.rooms.get("red")], [client.id]);
  });
}

test("without rules for rooms, or with ownJoins, the application joins what it wants", async (t) => {
  const policy = new Policy().room("red", () => false);
  for (const options of [{}, { policy, ownJoins: "allow" }, { policy: new Policy().room("red", () => false, { namespace: "/other" }) }]) {
    const made = await world(t, options);
    const [ada, bob] = [await made.member("ada"), await made.member("bob")];
    const socket = made.io.sockets.sockets.get(ada.id);
    socket.join("anything");
    socket.join(["red", "blue"]);
    assert.ok(["anything", "red", "blue"].every((room) => socket.rooms.has(room)));
    for (const foreign of ["user:bob", bob.id]) await assert.rejects(async () => socket.join(foreign), PermissionDenied);
    assert.deepEqual(made.logs, []);
  }
});

test("a client leaves the rooms it joined, and not those of the application", async (t) => {
  const made = await world(t, {
    prepare: (io, roomkey) => {
      roomkey.policy.room("*", () => true);
      roomkey.serveRooms();
      io.on("connection", (socket) => socket.join("theirs"));
    },
  });
  const client = await made.member("ada");
  const socket = made.io.sockets.sockets.get(client.id);
  for (const room of ["theirs", "mine"]) {
    assert.deepEqual(await ask(client, "join-room", room), { ok: true });
    assert.deepEqual(await ask(client, "leave-room", room), { ok: true });
  }
  assert.deepEqual([socket.rooms.has("theirs"), socket.rooms.has("mine")], [true, false]);
});

test("explain says what the policy decides, and why", async (t) => {
  const policy = new Policy({ roles: "admin > member" }).room("team:{team}", (who) => hasRole(who, "member")).namespace("/admin", () => false);
  const made = await world(t, { policy });
  const client = await made.member("ada", { roles: ["admin"], rooms: ["lobby"] });
  const socket = made.io.sockets.sockets.get(client.id);
  const explain = async (...asked) => String(await made.roomkey.explain(socket, ...asked));
  const holder = 'subject "ada", roles: admin, member, rooms: lobby';
  assert.equal(await explain("room", "team:red"), `room "team:red": allowed by the rule for room team:{team}; ${holder}`);
  assert.equal(await explain("namespace", "/admin"), `namespace "/admin": denied (namespace not allowed) by the rule for namespace /admin; ${holder}`);
  assert.equal(await explain("room", "lobby"), `room "lobby": denied (room not allowed) by the default, since no rule is about it; ${holder}`);
  assert.equal(await explain("event", "pay"), `event "pay": allowed by the default, since no rule is about it; ${holder}`);
  assert.match(await explain("emit", "team:red", { event: "say" }), /denied \(the client is not in the room\)/);
  const decision = await made.roomkey.explain(socket.data.identity, "room", "team:red");
  assert.deepEqual([decision.allowed, decision.rule, decision.error], [true, "room team:{team}", null]);
  await assert.rejects(made.roomkey.explain(socket, "door", "x"), /one of namespace, room, emit, event/);
  client.close();
  await until(() => made.roomkey.sockets().length === 0);
  await assert.rejects(made.roomkey.explain(socket, "room", "x"), PermissionDenied);
});

test("a token that is revoked while it is decided about is refused", async (t) => {
  const asked = deferred();
  const gate = deferred();
  const policy = new Policy().namespace("/slow", async () => (asked.resolve(), await gate.promise, true));
  const made = await world(t, { policy, prepare: (io) => io.of("/slow") });
  const client = made.client({ token: token("ada") }, { namespace: "/slow" });
  await asked.promise;
  assert.equal(await made.roomkey.revoke({ subject: "ada" }), 0);
  gate.resolve();
  const [message, data] = await event(client, "connect_error");
  assert.deepEqual([message, data.reason], ["jwt revoked", "token_revoked"]);
});

test("a token that is revoked while a middleware waits is refused, and so is one whose verifier waits", async (t) => {
  const asked = deferred();
  const gate = deferred();
  const verifier = Verifier.hs256(SECRET, { audience: "chat" });
  const slow = { verify: async (...args) => (asked.resolve(), await gate.promise, verifier.verify(...args)) };
  const made = await world(t, { make: (io, options) => guard(io, slow, options) });
  const client = made.client({ token: token("ada", { jti: "one" }) });
  await asked.promise;
  await made.roomkey.revoke({ tokenId: "one" });
  gate.resolve();
  assert.equal((await event(client, "connect_error"))[1].reason, "token_revoked");
  const [entered, leave] = [deferred(), deferred()];
  const other = await world(t, { prepare: (io) => io.use(async (_, next) => (entered.resolve(), await leave.promise, next())) });
  const second = other.client({ token: token("ada", { jti: "two" }) });
  await entered.promise;
  assert.equal(await other.roomkey.revoke({ tokenId: "two" }), 1);
  leave.resolve();
  assert.equal((await event(second, "connect_error"))[1].reason, "token_revoked");
});

test("rights that change while a namespace is decided about count", async (t) => {
  const asked = [];
  const gate = deferred();
  const policy = new Policy().namespace("/slow", async (who) => (asked.push(who.roles), await gate.promise, hasRole(who, "admin")));
  const made = await world(t, { policy, prepare: (io) => io.of("/slow") });
  const client = made.client({ token: token("ada", { roles: ["admin"] }) }, { namespace: "/slow" });
  await until(() => asked.length === 1);
  await made.roomkey.update("ada", { roles: [] });
  gate.resolve();
  assert.equal((await event(client, "connect_error"))[1].code, "permission_denied");
  assert.deepEqual(asked, [["admin"], []]);
});

test("a subject whose tokens have no iat is revoked up to the latest exp", async (t) => {
  const made = await world(t, {});
  const exp = Math.floor(Date.now() / 1000) + 600;
  const client = await made.member("ada", { iat: undefined, exp });
  await assert.rejects(made.roomkey.revoke({ subject: "ada" }), (error) => error instanceof ConfigError && /without iat/.test(error.message));
  assert.ok(client.connected);
  assert.equal(await made.roomkey.revoke({ subject: "ada", expiresAt: exp - 300 }), 1);
  const again = async (claims) => {
    const other = made.client({ token: token("ada", { iat: undefined, ...claims }) });
    await until(() => other.connected || other.heard.length > 0);
    return other.connected;
  };
  assert.deepEqual([await again({ exp }), await again({ exp: exp + 60 })], [false, true]);
});

test("what cannot be revoked or changed", async (t) => {
  const made = await world(t, {});
  for (const wrong of [{}, { subject: 7 }, { subject: "" }, { subject: "a\u0000" }, { tokenId: "a", subject: "b" }, { tokenId: "a", issuedBefore: 5 }, { subject: "a", expiresAt: NaN }]) {
    await assert.rejects(made.roomkey.revoke(wrong), ConfigError, JSON.stringify(wrong));
  }
  for (const wrong of [{}, { roles: "admin" }, { rooms: "red" }, { roles: {} }]) await assert.rejects(made.roomkey.update("ada", wrong), ConfigError);
  await assert.rejects(made.roomkey.update(7, { roles: [] }), ConfigError);
});

test("a listener of disconnect can ask who the socket belonged to", async (t) => {
  const left = deferred();
  const made = await world(t, {
    prepare: (io, roomkey) => io.on("connection", (socket) => socket.on("disconnect", () => left.resolve(roomkey.identity(socket).subject))),
  });
  const client = await made.member("ada", { rooms: ["x"] });
  assert.ok(roomsClaim);
  client.close();
  assert.equal(await left.promise, "ada");
});
