// Connected sockets: renewal, expiry, revocation, rooms, events, guests, and what goes wrong in the application.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRequire } from "node:module";
import { ConfigError, PermissionDenied, Policy, RemoteKeySet, Verifier, guard, hasRole, ownRooms, roomsClaim } from "roomkey";
import { SECRET, VERSIONS, ask, event, raw, sleep, token, until, world } from "./support/world.mjs";

const soon = (seconds) => Math.floor(Date.now() / 1000) + seconds;
const EDGES = ["socket.io-4.0", "socket.io"]; // the oldest and the newest

/** A clock that the test moves. */
function clock() {
  let ahead = 0;
  const now = () => Date.now() / 1000 + ahead;
  return { now, move: (seconds) => (ahead += seconds) };
}

for (const version of EDGES) {
  test(`a socket is warned, renewed and expires: ${version}`, async (t) => {
    const time = clock();
    const made = await world(t, { version, clock: time.now, grace: 5000, warnBefore: 60_000 });
    const client = await made.member("ada");
    time.move(580);
    made.roomkey.checkDeadlines();
    const [told] = await event(client, "token_expiring");
    assert.ok(told.expires_in > 0 && told.expires_in <= 20, String(told.expires_in));
    const answer = await ask(client, "authenticate", { token: token("ada", { exp: soon(1500) }) });
    assert.ok(answer.expires_in > 900);
    assert.ok(made.lines.some((line) => line.event === "refreshed"));
    time.move(30);
    made.roomkey.checkDeadlines();
    await ask(client, "authenticate", { token: token("ada", { exp: soon(1600) }) });
    time.move(1100);
    made.roomkey.checkDeadlines();
    const [ended] = await event(client, "unauthorized");
    assert.deepEqual([ended.message, ended.data.reason, ended.data.retry], ["jwt expired", "token_expired", true]);
    const [reason] = await event(client, "disconnect");
    assert.equal(reason, "transport close"); // a client whose auth is a function returns automatically
    assert.ok(made.lines.some((line) => line.event === "ended" && line.reason === "token_expired"));
  });

  test(`a renewal is for the same subject: ${version}`, async (t) => {
    const made = await world(t, { version, via: ["handshake", "authenticate"] });
    const client = await made.member("ada", { exp: soon(300) });
    const earlier = await ask(client, "authenticate", { token: token("ada", { exp: soon(200) }) });
    assert.deepEqual([earlier.ok, earlier.error.reason], [false, "malformed"]);
    await event(client, "unauthorized");
    client.emit("authenticate", { token: token("eve", { exp: soon(900) }) });
    const [told] = await event(client, "unauthorized");
    assert.deepEqual([told.message, told.data.reason, told.data.claim], ["jwt subject invalid", "subject_mismatch", "sub"]);
    assert.deepEqual((await event(client, "disconnect"))[0], "io server disconnect");
    const other = await made.member("ada");
    for (let count = 0; count < 3; count++) other.emit("authenticate", { token: "bad" });
    assert.deepEqual((await event(other, "disconnect"))[0], "io server disconnect");
    assert.equal(other.heard.filter(([name]) => name === "unauthorized").length, 3);
  });

  test(`revocation ends sockets for good: ${version}`, async (t) => {
    const made = await world(t, { version });
    const sockets = [await made.member("ada", { jti: "one" }), await made.member("ada", { sid: "s1" }), await made.member("ada"), await made.member("bob")];
    const [one, two, three, bob] = sockets;
    assert.equal(await made.roomkey.revoke({ tokenId: "one" }), 1);
    assert.equal((await event(one, "disconnect"))[0], "io server disconnect");
    assert.equal(one.heard[0][1].data.reason, "token_revoked");
    assert.equal(await made.roomkey.revoke({ sessionId: "s1" }), 1);
    await event(two, "disconnect");
    const again = token("ada", { sid: "s1" });
    const refused = made.client({ token: again });
    await event(refused, "connect_error");
    assert.deepEqual(refused.heard[0][2], { message: "jwt revoked", code: "invalid_token", type: "UnauthorizedError", reason: "token_revoked" });
    assert.equal(await made.roomkey.revoke({ subject: "ada", issuedBefore: soon(-3600) }), 0);
    assert.equal(await made.roomkey.revoke({ subject: "ada" }), 1);
    await event(three, "disconnect");
    assert.equal(bob.connected, true);
    assert.equal(made.roomkey.sockets("ada").length, 0);
    const newer = made.client({ token: token("ada", { iat: soon(2) }) });
    await event(newer, "connect");
    await assert.rejects(made.roomkey.revoke({}), /exactly one/);
    await assert.rejects(made.roomkey.revoke({ subject: "ada", issuedBefore: soon(60) }), /not be in the future/);
    await assert.rejects(made.roomkey.revoke({ tokenId: 5 }), /invalid token/);
  });

  test(`rooms, events and emits follow the policy: ${version}`, async (t) => {
    const handled = [];
    const made = await world(t, {
      version,
      prepare: (io, roomkey) => {
        roomkey.policy
          .room("*", roomsClaim)
          .room("team:{team}", async (who, { team }) => hasRole(who, team))
          .room("user:{sub}", ownRooms)
          .emit("news", (who) => hasRole(who, "editor"))
          .event("delete", (who) => hasRole(who, "moderator"))
          .event("pay", () => true, { maxAuthAge: 60 })
          .namespace("/admin", (who) => hasRole(who, "admin"));
        for (const name of ["authenticate", "join-room", "unauthorized", "authenticated", "token_expiring", "permissions_changed", "reauthenticate", "error"]) {
          assert.throws(() => roomkey.relay("other", name), /only the guard/);
        }
        for (const names of [["connect"], [""], ["*"], [5], ["say", "say"]]) assert.throws(() => roomkey.relay(...names), /cannot relay/);
        roomkey.serveRooms().relay("say", "other"); // nothing of what was refused was kept
        io.of("/admin");
        io.on("connection", (socket) => {
          for (const name of ["delete", "pay", "free"]) socket.on(name, (...args) => (handled.push(name), args.at(-1)?.("done")));
          socket.on("enter", async (room, answer) => {
            await roomkey.enterRoom(socket, room);
            answer("entered");
          });
        });
      },
    });
    const ada = await made.member("ada", { rooms: ["lobby", "red-*"], roles: ["blue"] });
    const bob = await made.member("bob", { rooms: ["lobby"], roles: ["moderator", "editor"] });
    assert.deepEqual(await ask(ada, "join-room", "lobby"), { ok: true });
    assert.deepEqual(await ask(bob, "join-room", "lobby"), { ok: true });
    assert.deepEqual(await ask(ada, "join-room", "team:blue"), { ok: true });
    const denied = { message: "Insufficient permissions", code: "permission_denied", type: "UnauthorizedError", reason: "permission_denied" };
    for (const room of ["team:green", "green", "user:bob", "", 5, null, "lobby ", "LOBBY", bob.id, "a\u0000", "lobby\u200b"]) {
      assert.deepEqual(await ask(ada, "join-room", room), { ok: false, error: denied }, String(room));
    }
    assert.deepEqual(await ask(ada, "join-room", "user:ada"), { ok: true });
    assert.deepEqual(await ask(ada, "say", "lobby", "hello"), { ok: true });
    assert.deepEqual((await event(bob, "say"))[0], { room: "lobby", from: "ada", data: "hello" });
    assert.deepEqual(await ask(ada, "say", "news", "no"), { ok: false, error: denied });
    assert.deepEqual(await ask(bob, "say", "news", "yes"), { ok: true });
    assert.deepEqual(await ask(ada, "leave-room", "lobby"), { ok: true });
    assert.deepEqual(await ask(ada, "say", "lobby", "gone"), { ok: false, error: denied });
    ada.emit("delete", "x");
    assert.deepEqual((await event(ada, "error"))[0], denied);
    assert.deepEqual(handled, []);
    assert.equal(await ask(bob, "delete", "x"), "done");
    assert.equal(await ask(ada, "free"), "done");
    assert.equal(await ask(ada, "pay"), "done");
    const late = await made.member("ada", { auth_time: soon(-100), roles: ["blue"] });
    const asked = await ask(late, "pay");
    assert.deepEqual([asked.error.code, asked.error.max_age], ["insufficient_user_authentication", 60]);
    assert.equal(late.heard.find(([name]) => name === "reauthenticate")[1].event, "pay");
    assert.equal(await ask(ada, "enter", "red-1"), "entered");
    assert.deepEqual(await ask(ada, "enter", "green"), { ok: false, error: denied });
    const outside = made.client({ token: token("ada") }, { namespace: "/admin" });
    await event(outside, "connect_error");
    assert.deepEqual(outside.heard[0].slice(1), ["Insufficient permissions", denied]);
    const renewal = { token: token("ada", { rooms: ["red-1"], exp: soon(900) }) };
    const [changed] = await Promise.all([event(ada, "permissions_changed"), ask(ada, "authenticate", renewal)]);
    assert.deepEqual(changed[0], { left: ["team:blue"] });
    assert.deepEqual([...made.io.sockets.sockets.get(ada.id).rooms].sort(), [ada.id, "red-1", "user:ada"].sort());
    assert.equal(await made.roomkey.update("ada", { rooms: [] }), 2);
    await until(() => ada.heard.some(([name, told]) => name === "permissions_changed" && told.left[0] === "red-1"));
    made.io.to(made.roomkey.subjectRoom("ada")).emit("own", 1);
    await event(ada, "own");
    assert.ok(made.lines.every((line) => !JSON.stringify(line).includes("eyJ")));
    assert.ok(made.lines.some((line) => line.event === "denied" && line.kind === "room" && line.name === "green"));
    assert.deepEqual(made.logs, []);
  });

  test(`guests can authenticate: ${version}`, async (t) => {
    const made = await world(t, { version, required: false });
    const client = made.client({});
    await event(client, "connect");
    const [socket] = made.roomkey.sockets();
    assert.deepEqual([socket.identity.subject, socket.identity.source], ["", "guest"]);
    const answer = await ask(client, "authenticate", { token: token("ada") });
    assert.ok(answer.expires_in > 0);
    assert.equal(made.roomkey.sockets()[0].identity.subject, "ada");
    assert.ok(made.io.sockets.sockets.get(client.id).rooms.has("user:ada"));
    const bad = made.client({ token: "bad" });
    await event(bad, "connect_error");
  });

  test(`nothing that the application throws ends the process or leaves a client waiting: ${version}`, async (t) => {
    const never = new Promise(() => undefined);
    const middlewares = {
      "/declines": (_, next) => next(Object.assign(new Error("not today"), { data: { hint: 1 } })),
      "/throws": () => { throw new Error("secret detail"); },
      "/rejects": async () => { throw new Error("secret detail"); },
      "/waits": () => never,
      "/denies": () => { throw new PermissionDenied("no"); },
    };
    const policy = new Policy();
    policy.namespace("/rule-throws", () => { throw new Error("secret detail"); });
    policy.namespace("/rule-waits", () => never);
    policy.namespace("/rule-lies", () => "yes");
    const made = await world(t, {
      version, policy, via: ["handshake", "authenticate"], decisionTimeout: 150,
      prepare: (io, roomkey) => {
        roomkey.onRefused(() => { throw new Error("callback"); }).onRefused(async () => { throw new Error("callback"); });
        for (const [name, middleware] of Object.entries(middlewares)) io.of(name).use(middleware);
        for (const name of ["/rule-throws", "/rule-waits", "/rule-lies"]) io.of(name);
        io.of("/twice").use((_, next) => (next(), next())).on("connection", (socket) => socket.emit("welcome"));
        io.of("/listener").on("connection", () => { throw new Error("secret detail"); });
        io.of("/async-listener").on("connection", async () => { throw new Error("secret detail"); });
        io.on("connection", (socket) => {
          socket.on("throws", () => { throw new Error("secret detail"); });
          socket.on("rejects", async () => { throw new Error("secret detail"); });
          socket.on("disconnect", () => { throw new Error("secret detail"); });
        });
      },
    });
    const told = async (namespace, auth) => {
      const client = made.client(auth, { namespace });
      await event(client, "connect_error");
      return client.heard[0].slice(1);
    };
    const good = { token: token() };
    const unavailable = { message: "temporarily unavailable", code: "temporarily_unavailable", type: "UnauthorizedError", reason: "temporarily_unavailable", retry: true };
    assert.deepEqual(await told("/declines", good), ["not today", { hint: 1 }]);
    for (const name of ["/throws", "/rejects", "/waits"]) assert.deepEqual(await told(name, good), ["temporarily unavailable", unavailable], name);
    for (const name of ["/denies", "/rule-throws", "/rule-waits", "/rule-lies"]) assert.equal((await told(name, good))[1].code, "permission_denied", name);
    for (const [name, code] of [["/declines", undefined], ["/throws", "temporarily_unavailable"], ["/waits", "temporarily_unavailable"], ["/rule-waits", "permission_denied"]]) {
      const client = made.client({}, { namespace: name });
      await event(client, "connect");
      client.emit("authenticate", good);
      const [refusal] = await event(client, "unauthorized");
      assert.equal(refusal.data.code, code, name);
      client.close();
    }
    const twice = await made.member("ada", {}, { namespace: "/twice" });
    await sleep(50);
    assert.deepEqual(twice.heard, [["welcome"]]);
    twice.close();
    for (const name of ["/listener", "/async-listener"]) {
      const client = await made.member("ada", {}, { namespace: name });
      if (client.connected) await event(client, "disconnect");
      assert.equal(client.heard[0][1].data.code, "temporarily_unavailable");
    }
    const client = await made.member();
    assert.deepEqual(await ask(client, "throws"), { ok: false, error: unavailable });
    assert.deepEqual(await ask(client, "rejects"), { ok: false, error: unavailable });
    client.close();
    await until(() => made.io.engine.clientsCount === 0);
    assert.ok(made.logs.length > 8);
  });
}

test("events with impossible names close the connection", async (t) => {
  const made = await world(t);
  for (const packet of ['42["connect"]', '42["disconnect"]', '42["newListener",1]', '42[""]', '42["a\\u0000"]', '42["*"]', '42[null]', "42[]", '42{"a":1}']) {
    const found = await raw(made.url, [`40{"token":"${token()}"}`, 40, packet]);
    assert.equal(found.closed, true, packet);
  }
});

test("where a token may come from", async (t) => {
  const made = await world(t, { sources: { cookie: "session", query: "token" }, origins: ["https://chat.example"] });
  const good = token();
  const ways = [
    { auth: { token: `Bearer ${good}` } }, { auth: { access_token: good } }, { extraHeaders: { Authorization: `bearer ${good}` } },
    { query: { token: good } }, { extraHeaders: { Cookie: `session=${good}`, Origin: "https://chat.example" } },
  ];
  for (const { auth = {}, ...more } of ways) {
    const client = made.client(auth, more);
    await event(client, "connect");
    client.close();
  }
  const sources = made.lines.filter((line) => line.event === "admitted").map((line) => line.source);
  assert.deepEqual(sources, ["auth", "auth", "header", "query", "cookie"]);
  for (const headers of [{}, { Origin: "https://evil.example" }, { Origin: "null" }, { Origin: "https://chat.example.evil" }, { "Sec-Fetch-Site": "cross-site" }]) {
    const other = made.client(undefined, { extraHeaders: { Cookie: `session=${good}`, ...headers } });
    await event(other, "connect_error");
    assert.equal(other.heard[0][2].code, "credentials_required", JSON.stringify(headers));
  }
  const same = made.client(undefined, { extraHeaders: { Cookie: `session=${good}`, "Sec-Fetch-Site": "same-origin" } });
  await event(same, "connect");
  const two = made.client({ token: token("eve") }, { query: { token: good } });
  await event(two, "connect_error");
  assert.equal(two.heard[0][1], "more than one token provided");
  const none = made.client(undefined);
  await event(none, "connect_error");
  assert.deepEqual(none.heard[0][2], { message: "no token provided", code: "credentials_required", type: "UnauthorizedError" });
});

test("settings that must fail", () => {
  const verifier = Verifier.hs256(SECRET, { audience: "chat" });
  const { Server } = createRequire(import.meta.url)("socket.io");
  const wrong = [
    { sources: { cookie: "session" } }, { sources: { cookie: "session" }, origins: [] }, { origins: ["*"] }, { origins: ["https://a.example/"] },
    { sources: { auth: false, header: false } }, { sources: { cookie: "" } }, { via: [] }, { via: "cookie" }, { via: ["handshake", 5] },
    { timeout: 0 }, { timeout: "15" }, { timeout: Infinity }, { grace: -1 }, { maxAttempts: 0 }, { maxAttempts: 1.5 }, { policy: {} },
  ];
  for (const options of wrong) assert.throws(() => guard(new Server(), verifier, options), ConfigError, JSON.stringify(options));
  assert.throws(() => guard(new Server(), verifier, { max_attempts: 1 }), /unknown option "max_attempts"; use via, /);
  for (const make of [Verifier.hs256, (secret, options) => Verifier.oidc("https://sso.example", options)]) {
    assert.throws(() => make(SECRET, { max_age: 60 }), { name: "ConfigError", message: /unknown option "max_age"; use .*maxAge/ });
  }
  const journal = { url: "https://login.example/auth/revocations", clientId: "a", clientSecret: "b", stale_after: 1000 };
  assert.throws(() => guard(new Server(), verifier, { journal }), /unknown option "stale_after"; use .*staleAfter/);
  assert.throws(() => new Policy({ open_events: false }), /unknown option "open_events"; use .*openEvents/);
  assert.throws(() => new RemoteKeySet("https://sso.example", { fetch_timeout: 1 }), /unknown option "fetch_timeout"; use .*fetchTimeout/);
  assert.throws(() => guard(new Server(), {}), /verifier/);
  assert.throws(() => guard(new Server(), Verifier.hs256(SECRET, { require: ["exp"] })), /one user/);
  assert.throws(() => guard(new Server({ allowEIO3: true }), verifier), /allowEIO3/);
  assert.throws(() => guard({ sockets: {}, of: () => undefined }, verifier), /4\.0 to 4\.8/);
  const io = new Server();
  guard(io, verifier);
  assert.throws(() => guard(io, verifier), /already/);
});

test("requests are verified for routes", async (t) => {
  const made = await world(t);
  const good = token("ada", { jti: "route" });
  const who = await made.roomkey.verifyRequest({ headers: { authorization: `Bearer ${good}` }, url: "/me" });
  assert.equal(who.subject, "ada");
  const failing = async (headers) => made.roomkey.verifyRequest({ headers, url: "/me" }).then(() => assert.fail("accepted"), (error) => error);
  const none = await failing({});
  assert.deepEqual([none.status, none.statusCode, none.headers], [401, 401, { "WWW-Authenticate": 'Bearer realm="roomkey"' }]);
  await made.roomkey.revoke({ tokenId: "route" });
  const revoked = await failing({ authorization: `Bearer ${good}` });
  assert.equal(revoked.headers["WWW-Authenticate"], 'Bearer realm="roomkey", error="invalid_token"');
  assert.deepEqual(JSON.parse(JSON.stringify(revoked)).message, "jwt revoked");
});

test("the identity is plain JSON without the token", async (t) => {
  const made = await world(t);
  const good = token("ada", { rooms: ["red"], roles: ["admin"] });
  const client = made.client({ token: good });
  await event(client, "connect");
  const { data } = made.io.sockets.sockets.get(client.id);
  const text = JSON.stringify(data);
  assert.deepEqual(JSON.parse(text), data);
  for (const part of good.split(".")) assert.ok(!text.includes(part));
  assert.equal(data.identity.source, "auth");
});

test("a client that leaves its last namespace may join another one, for a while", async (t) => {
  const made = await world(t, { timeout: 300, prepare: (io) => io.of("/other") });
  const good = `{"token":"${token()}"}`;
  const back = await raw(made.url, [`40${good}`, 50, "41", 100, `40/other,${good}`, 450], { ms: 700 });
  assert.equal(back.closed, false);
  assert.match(back.heard[1], /^40\/other/);
  const idle = await raw(made.url, [`40${good}`, 50, "41"], { ms: 2000 });
  assert.equal(idle.closed, true);
});

for (const version of VERSIONS) {
  test(`the recipes of the first libraries work unchanged: ${version}`, async (t) => {
    const made = await world(t, { version, via: ["handshake", "authenticate"], sources: { query: "token" } });
    const byQuery = made.client(undefined, { query: `token=${token("ada")}` });
    await event(byQuery, "connect");
    const later = made.client(undefined);
    later.on("connect", () => {
      later.emit("authenticate", { token: token("bob") });
    });
    await event(later, "authenticated");
    assert.deepEqual(made.roomkey.sockets().map((socket) => socket.identity.subject).sort(), ["ada", "bob"]);
  });
}

for (const limits of [undefined, { sockets: 1, whenFull: "end_oldest" }]) {
  test(`all namespaces of a connection are told why it ends: ${limits ? "a limit" : "a revocation"}`, async (t) => {
    const made = await world(t, { subjectLimits: limits, prepare: (io) => io.of("/a") });
    const connect = (namespace) => `40${namespace}{"token":"${token("ada")}"}`;
    const ending = raw(made.url, [connect(""), connect("/a,")]);
    await until(() => made.roomkey.sockets("ada").length === 2);
    if (limits) await made.member("ada");
    else assert.equal(await made.roomkey.revoke({ subject: "ada" }), 2);
    const { closed, heard } = await ending;
    assert.equal(closed, true);
    assert.deepEqual(heard.slice(2).map((packet) => packet.split("{")[0]), ['42["unauthorized",', "41", '42/a,["unauthorized",', "41/a,"]);
  });
}
