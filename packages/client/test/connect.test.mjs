// One socket and its server: how a token is presented, renewed and given up.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "roomkey-client";
import { EXPIRED, MISSING, Queue, REVOKED, UNAVAILABLE, expire, login, refusal, revoke, soon, warn, world } from "./support/world.mjs";

const happens = (emitter, event) => soon(new Promise((resolve) => emitter.once(event, resolve)), event);

test("each connection presents a new token of the function", async (t) => {
  const server = await world(t);
  let count = 0;
  const client = server.connect({ token: async () => `t${++count}`, auth: { lang: "en" } });
  const first = await server.sockets.next();
  assert.deepEqual(first.handshake.auth, { lang: "en", token: "t1" });
  first.conn.close();
  const second = await server.sockets.next();
  assert.equal(second.handshake.auth.token, "t2");
  assert.deepEqual(client.ended.all, []);
});

test("a warned socket renews its token with one refresh for all sockets", async (t) => {
  const server = await world(t);
  const { refresh, refreshes, tokens } = login();
  const name = "shared by three";
  for (let count = 0; count < 3; count++) server.connect({ refresh, tokens, name });
  const sockets = [await server.sockets.next(), await server.sockets.next(), await server.sockets.next()];
  assert.deepEqual(server.presented.all, ["t0", "t0", "t0"]);
  sockets.forEach(warn);
  for (const _ of sockets) assert.equal(await server.renewals.next(), "t1");
  assert.deepEqual(refreshes.all, [tokens]);
});

test("a warning that crosses the newer token causes no second refresh", async (t) => {
  const server = await world(t);
  const { refresh, refreshes, tokens } = login();
  const client = server.connect({ refresh, tokens });
  const socket = await server.sockets.next();
  socket.removeAllListeners("authenticate"); // the server is slow: it answers after the second warning
  warn(socket);
  await happens(socket, "authenticate");
  warn(socket);
  socket.emit("authenticated", { expires_in: 600 });
  await happens(client, "authenticated");
  warn(socket); // a warning about the newer token
  const { token } = await happens(socket, "authenticate");
  assert.equal(token, "t2");
  assert.equal(refreshes.all.length, 2);
});

test("an expired socket returns with a refreshed token", async (t) => {
  const server = await world(t);
  const { refresh, refreshes, tokens } = login();
  server.connect({ refresh, tokens });
  const first = await server.sockets.next();
  server.verdicts.t0 = EXPIRED;
  expire(first);
  const socket = await server.sockets.next();
  assert.equal(socket.handshake.auth.token, "t1");
  assert.equal(refreshes.all.length, 1);
});

test("a token that expired before the connection is refreshed", async (t) => {
  const server = await world(t, { verdicts: { t0: EXPIRED } });
  const { refresh, tokens } = login();
  server.connect({ refresh, tokens });
  await server.sockets.next();
  assert.deepEqual(server.presented.all, ["t0", "t1"]);
});

test("a fixed token is presented until it has expired, and not again", async (t) => {
  const server = await world(t);
  const client = server.connect({ token: "fixed" });
  const socket = await server.sockets.next();
  warn(socket);
  socket.conn.close();
  server.verdicts.fixed = EXPIRED;
  const error = await client.ended.next("onSignedOut");
  assert.deepEqual([error.message, error.data.reason], ["token_expired", "token_expired"]);
  assert.deepEqual([client.active, server.presented.all, server.renewals.all], [false, ["fixed", "fixed"], []]);
});

test("a revoked socket stops, and starts again after a new login", async (t) => {
  const server = await world(t);
  const { refresh, refreshes, tokens } = login();
  const client = server.connect({ refresh, tokens });
  revoke(await server.sockets.next());
  const error = await client.ended.next("onSignedOut");
  assert.deepEqual([error.data.reason, client.active], ["token_revoked", false]);
  assert.equal(client.ended.all.length, 1);
  client.connect();
  await server.sockets.next();
  assert.deepEqual(refreshes.all, [undefined]); // the revoked token is no longer stored
});

for (const [name, error] of [["a revoked token", REVOKED], ["a forbidden namespace", refusal("permission_denied", { code: "permission_denied" })]]) {
  test(`a client that is refused for ${name} stops`, async (t) => {
    const server = await world(t, { verdicts: { bad: error } });
    const client = server.connect({ token: () => "bad" });
    const told = await client.ended.next("onSignedOut");
    assert.deepEqual([told.data, client.active, server.presented.all], [error.data, false, ["bad"]]);
  });
}

test("a client that is refused with retry connects again", async (t) => {
  const server = await world(t, { verdicts: { only: UNAVAILABLE } });
  const client = server.connect({ token: "only" });
  await server.presented.next();
  assert.equal((await happens(client, "connect_error")).data.retry, true);
  delete server.verdicts.only;
  await server.sockets.next();
  assert.deepEqual(server.presented.all, ["only", "only"]);
  assert.deepEqual(client.ended.all, []);
});

test("a renewal that the server cannot decide is sent again", async (t) => {
  const server = await world(t);
  const { refresh, refreshes, tokens } = login();
  const client = server.connect({ refresh, tokens });
  server.verdicts.t1 = UNAVAILABLE;
  warn(await server.sockets.next());
  await happens(client, "unauthorized");
  delete server.verdicts.t1;
  await happens(client, "authenticated");
  assert.deepEqual([server.renewals.all, refreshes.all.length], [["t1", "t1"], 1]);
});

test("a rejected renewal leaves the socket connected, and is not repeated", async (t) => {
  const server = await world(t, { verdicts: { t1: refusal("claim") } });
  const { refresh, tokens } = login();
  const client = server.connect({ refresh, tokens });
  warn(await server.sockets.next());
  await happens(client, "unauthorized");
  assert.deepEqual([client.connected, server.renewals.all, client.ended.all], [true, ["t1"], []]);
});

test("a client whose login has ended stops", async (t) => {
  const server = await world(t);
  const { tokens } = login();
  const client = server.connect({ refresh: () => null, tokens });
  warn(await server.sockets.next());
  const error = await client.ended.next("onSignedOut");
  assert.deepEqual([error.data, client.active], [undefined, false]);
});

test("a response without tokens ends the login", async (t) => {
  const server = await world(t);
  const client = server.connect({ refresh: () => ({ error: "invalid_grant" }) });
  await client.ended.next("onSignedOut");
  assert.deepEqual([client.active, server.presented.all], [false, []]);
});

test("a failed refresh is tried again while the socket waits", async (t) => {
  const server = await world(t);
  const asked = new Queue();
  const refresh = async (tokens) => {
    asked.put(tokens);
    if (asked.all.length === 1) throw new TypeError("fetch failed");
    return { access_token: "t1", expires_in: 600 };
  };
  server.connect({ refresh, tokens: { access_token: "t0", refresh_token: "r0", expires_in: -1 } });
  await server.sockets.next();
  assert.deepEqual(asked.all.map((tokens) => tokens.refresh_token), ["r0", "r0"]);
  assert.deepEqual(server.presented.all, ["t1"]);
});

for (const answer of ["<html>", {}, [], 5, { error: "server_error" }]) {
  test(`a response ${JSON.stringify(answer)} to a refresh is not a logout`, async (t) => {
    const server = await world(t);
    const answers = [answer, { access_token: "t1", expires_in: 600 }];
    const client = server.connect({ refresh: () => answers.shift(), tokens: { access_token: "t0", refresh_token: "r0", expires_in: -1 } });
    await server.sockets.next();
    assert.deepEqual([server.presented.all, client.ended.all], [["t1"], []]);
  });
}

test("the clock of the browser can be wrong", async (t) => {
  const server = await world(t);
  const now = Math.floor(Date.now() / 1000) - 86_400;
  const jwt = `e30.${btoa(JSON.stringify({ iat: now, exp: now + 600 }))}.sig`; // by this clock, it expired yesterday
  const asked = [];
  const name = "wrong clock";
  const refresh = () => (asked.push(1), { access_token: jwt });
  server.connect({ refresh, name });
  await server.sockets.next();
  server.connect({ refresh, name });
  await server.sockets.next();
  assert.deepEqual([server.presented.all, asked], [[jwt, jwt], [1]]);
});

test("a ticket that nobody gets ends the login", async (t) => {
  const server = await world(t);
  const client = server.connect({ refresh: () => ({ expires_in: 600 }), token: () => null });
  const error = await client.ended.next("onSignedOut");
  assert.deepEqual([error.message, client.active, server.presented.all], ["logged out", false, []]);
});

test("a component that is mounted twice refreshes once and has one socket", async (t) => {
  const server = await world(t);
  const { refresh, refreshes } = login();
  const name = "mounted twice";
  const first = server.connect({ refresh, name });
  first.close(); // while it looks for a token, as React does in development
  const second = server.connect({ refresh, name });
  await server.sockets.next();
  assert.deepEqual([server.presented.all, refreshes.all, first.ended.all, first.active], [["t1"], [undefined], [], false]);
  second.close();
  assert.equal(second.active, false);
});

test("tokens that are already too old are refreshed once, not forever", async (t) => {
  const server = await world(t);
  const asked = new Queue();
  const refresh = () => (asked.put(1), { access_token: `t${asked.all.length}`, expires_in: 0.001 });
  server.connect({ refresh });
  await server.sockets.next();
  assert.equal(asked.all.length, 1);
});

test("an older login does not replace the tokens that came from it", async (t) => {
  const server = await world(t);
  const { refresh, refreshes, tokens } = login();
  const name = "login twice";
  const client = server.connect({ refresh, tokens, name });
  warn(await server.sockets.next());
  await happens(client, "authenticated");
  server.connect({ refresh, tokens, name });
  assert.equal((await server.sockets.next()).handshake.auth.token, "t1");
  server.connect({ refresh, tokens: { access_token: "new", refresh_token: "new", expires_in: 600 }, name });
  assert.equal((await server.sockets.next()).handshake.auth.token, "new");
  assert.equal(refreshes.all.length, 1);
});

test("a ticket is made from the refreshed tokens for each connection", async (t) => {
  const server = await world(t);
  let tickets = 0;
  const refreshed = [];
  const refresh = async () => (refreshed.push(1), { expires_in: 600 }); // the tokens are in cookies
  const client = server.connect({ refresh, token: async () => `ticket ${++tickets}` });
  const socket = await server.sockets.next();
  warn(socket);
  await happens(client, "authenticated");
  socket.conn.close();
  await server.sockets.next();
  assert.deepEqual([server.presented.all, server.renewals.all], [["ticket 1", "ticket 3"], ["ticket 2"]]);
  assert.equal(refreshed.length, 2);
});

test("a client can authenticate after connecting", async (t) => {
  const server = await world(t, { quarantine: true });
  const { refresh, tokens } = login();
  const client = server.connect({ refresh, tokens, via: "authenticate" });
  client.emit("too early");
  const refused = await happens(client, "unauthorized");
  assert.equal(refused.data.code, MISSING.data.code);
  const socket = await server.sockets.next();
  assert.deepEqual(socket.handshake.auth, {});
  warn(socket);
  assert.equal(await server.renewals.next(), "t1");
  socket.conn.close();
  await server.sockets.next();
  assert.deepEqual([server.presented.all, client.ended.all], [["t0", "t1"], []]);
});

test("a client that is rejected after connecting stops", async (t) => {
  const server = await world(t, { quarantine: true, verdicts: { bad: refusal("bad_signature") } });
  const client = server.connect({ token: "bad", via: "authenticate" });
  const error = await client.ended.next("onSignedOut");
  assert.deepEqual([error.data.reason, client.active, server.presented.all], ["bad_signature", false, ["bad"]]);
});

test("an expired token is replaced after connecting", async (t) => {
  const server = await world(t, { quarantine: true, verdicts: { t0: EXPIRED } });
  const { refresh, tokens } = login();
  server.connect({ refresh, tokens, via: "authenticate" });
  await server.sockets.next();
  assert.deepEqual(server.presented.all, ["t0", "t1"]);
});

test("a client that the application disconnects does not return", async (t) => {
  const server = await world(t, { verdicts: { only: UNAVAILABLE } });
  const client = server.connect({ token: "only" });
  await server.presented.next();
  await happens(client, "connect_error");
  client.disconnect(); // while it waits to connect again
  assert.equal(client.active, false);
  const other = server.connect({ token: "other" });
  await server.sockets.next();
  assert.deepEqual([server.presented.all, client.active, other.ended.all], [["only", "other"], false, []]);
});

test("the application's own disconnect is not a logout", async (t) => {
  const server = await world(t);
  const client = server.connect({ token: "t" });
  (await server.sockets.next()).disconnect();
  assert.equal(await happens(client, "disconnect"), "io server disconnect");
  assert.deepEqual(client.ended.all, []);
});

test("connect requires a token or a refresh", () => {
  assert.throws(() => connect("http://127.0.0.1:1", {}), { name: "TypeError", message: /pass `token` or `refresh`/ });
  assert.throws(() => connect("http://127.0.0.1:1"), { name: "TypeError", message: /pass `token` or `refresh`/ });
});

test("connect rejects another `via`, and a promise as `dpop`", () => {
  assert.throws(() => connect("http://127.0.0.1:1", { token: "a", via: "event" }), { message: /`via` must be `handshake` or `authenticate`/ });
  const dpop = Promise.resolve(); // a forgotten await
  assert.throws(() => connect("http://127.0.0.1:1", { token: "a", dpop }), { message: /`dpop` must be a key; pass `await dpopKey\(\)`/ });
});
