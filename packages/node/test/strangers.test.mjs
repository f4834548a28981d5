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
    for (const packet of ['44{"message":"x"}', '43["no id"]', "42[null]", "42[{}]", '42[""]', '42["disconnect"]', '42["*"]']) {
      const { closed } = await raw(made.url, [`40{"token":"${token()}"}`, 60, packet]);
      assert.equal(closed, true, packet);
    }
    assert.deepEqual(handled, []);
  });

  test(`an event with a number for a name is asked about by its text: ${version}`, async (t) => {
    const handled = [];
    const made = await world(t, {
      version,
      prepare: (io, { policy }) => {
        policy.event("6", () => false);
        io.on("connection", (socket) => [5, 6].forEach((name) => socket.on(String(name), (data) => handled.push([name, data]))));
      },
    });
    const { heard } = await raw(made.url, [`40{"token":"${token()}"}`, 60, '42[5,"x"]', '42[6,"x"]', 60, "41"], { ms: 500 });
    assert.deepEqual(handled, [[5, "x"]]);
    assert.match(heard[1], /^42\["error",.*permission_denied/);
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

for (const version of VERSIONS) {
  test(`tokens in places of other names are accepted and do not travel: ${version}`, async (t) => {
    const origins = ["https://chat.example"];
    const made = await world(t, { version, sources: { auth: "jwt", header: "X-Token", cookie: "session" }, origins });
    const presented = token("ada");
    const cookie = [presented.slice(0, 9), presented.slice(9, 60), presented.slice(60)].map((part, at) => `session.${at}=${part}`).join("; ");
    const ways = [
      [{ jwt: presented, token: "x" }, {}], [{}, { "X-Token": `Bearer ${presented}` }], [{}, { "x-token": presented, Authorization: "Bearer x.y.z" }],
      [{}, { Cookie: cookie, Origin: origins[0] }],
    ];
    for (const [auth, extraHeaders] of ways) await event(made.client(auth, { extraHeaders }), "connect");
    const sources = made.lines.filter((line) => line.event === "admitted").map((line) => line.source);
    assert.deepEqual(sources, ["auth", "header", "header", "cookie"]);
    const sockets = await made.io.fetchSockets();
    assert.equal(sockets.length, ways.length);
    const sent = JSON.stringify(sockets.map(({ handshake }) => handshake)); // as an adapter sends it
    for (const secret of [presented, presented.slice(60), presented.slice(9, 60)]) assert.ok(!sent.includes(secret));
    const refused = [
      [{ token: presented }, {}, "no token provided"], [{}, { Authorization: `Bearer ${presented}` }, "no token provided"],
      [{ jwt: presented }, { "X-Token": token("eve") }, "more than one token provided"],
      [{}, { Cookie: "session.1=x", Origin: origins[0] }, "a part of the token cookie is missing"],
    ];
    for (const [auth, extraHeaders, message] of refused) {
      const client = made.client(auth, { extraHeaders });
      await event(client, "connect_error");
      assert.equal(client.heard[0][1], message);
    }
  });
}

test("the named header, sent twice, is not one token", async (t) => {
  const made = await world(t, { sources: { header: "X-Token" } });
  const [ada, bob] = [token("ada"), token("bob")];
  for (const request of [{ headers: { "x-token": `${ada}, ${bob}` } }, { headers: { "x-token": ada }, rawHeaders: ["X-Token", ada, "x-token", bob] }]) {
    await assert.rejects(made.roomkey.verifyRequest(request), ({ cause }) => cause.code === "credentials_bad_format");
  }
  assert.equal((await made.roomkey.verifyRequest({ headers: { "x-token": ada } })).subject, "ada");
});

test("a request with members of other types is not a failure", async (t) => {
  const made = await world(t, { sources: { cookie: "token", query: "token" }, origins: ["https://chat.example"] });
  const good = token("ada");
  const requests = [
    undefined, null, {}, { headers: null }, { headers: { authorization: 5 } }, { headers: { authorization: {} } }, { headers: { authorization: [5, {}] } },
    { headers: {}, url: 5 }, { headers: {}, url: [`/?token=${good}`] }, { headers: { cookie: 5, origin: "https://chat.example" } },
    { headers: {}, rawHeaders: "Authorization" }, { headers: {}, rawHeaders: [5, null] }, { headers: { authorization: null, origin: {} } },
  ];
  for (const request of requests) await assert.rejects(made.roomkey.verifyRequest(request), { status: 401 }, JSON.stringify(request));
});

for (const version of VERSIONS) {
  test(`a poll after the deadline fetches the close, and no more: ${version}`, async (t) => {
    const made = await world(t, { version, timeout: 100 });
    const session = `${made.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(session)).text()).slice(1));
    await until(() => made.lines.some((line) => line.reason === "authentication_timeout"));
    const poll = await fetch(`${session}&sid=${sid}`);
    assert.deepEqual([poll.status, (await poll.text()).split("\x1e").at(-1)], [200, "1"]);
    assert.equal((await fetch(`${session}&sid=${sid}`)).status, 400);
    assert.equal(made.io.engine.clientsCount, 0);
  });

  test(`a socket whose own room cannot be joined is closed: ${version}`, async (t) => {
    const made = await world(t, { version, userRooms: false });
    const { adapter } = made.io.sockets;
    const { addAll } = adapter;
    adapter.addAll = async () => Promise.reject(new Error("the store is away"));
    const client = made.client({ token: token() });
    const [told] = await event(client, "unauthorized");
    assert.equal(told.data.reason, "temporarily_unavailable");
    assert.deepEqual(await event(client, "disconnect"), ["transport close"]);
    adapter.addAll = addAll;
    const member = await made.member("ada");
    const [socket] = made.io.sockets.sockets.values();
    adapter.addAll = async () => Promise.reject(new Error("the store is away"));
    void socket.join("red");
    await assert.rejects(socket.join("red"), /away/);
    made.roomkey.policy.room("*", () => true);
    await assert.rejects(made.roomkey.enterRoom(socket, "blue"), /away/);
    assert.deepEqual(made.roomkey.sockets("ada")[0].rooms, []);
    assert.ok(member.connected);
    assert.ok(made.logs.some(([message]) => message === "joining a room failed"));
  });

  test(`what still waits on a lost connection does not count it again: ${version}`, async (t) => {
    let answer;
    const made = await world(t, { version, maxAnonymous: 1, prepare: (io) => io.of((name, auth, next) => (answer = () => next(null, true))) });
    const client = made.client({}, { namespace: "/late" });
    await until(() => answer);
    client.close();
    await until(() => made.io.engine.clientsCount === 0);
    answer();
    await until(() => !made.io._nsps.has("/late"));
    assert.ok(await made.member("ada")); // the address is not full
  });
}

for (const version of ["socket.io-4.6", "socket.io"]) {
  test(`a session that is restored too late does not count its connection again: ${version}`, async (t) => {
    const made = await world(t, { version, maxAnonymous: 1, server: { connectionStateRecovery: {} } });
    let restore;
    made.io.sockets.adapter.restoreSession = () => new Promise((resolve) => (restore = () => resolve(null)));
    const client = made.client({ token: token(), pid: "p", offset: "o" });
    await until(() => restore);
    client.close();
    await until(() => made.io.engine.clientsCount === 0);
    restore();
    await new Promise(setImmediate);
    assert.ok(await made.member("ada")); // the address is not full
  });
}
