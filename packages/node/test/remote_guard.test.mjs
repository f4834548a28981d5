// Sockets with tokens of another server: what they wait for, and what they do not.
import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { test } from "node:test";
import { RemoteKeySet, Verifier, guard } from "roomkey";
import { SSO, failing, fakeClock, held, json, keyPair, keyServer, keys } from "./support/key_server.mjs";
import { SECRET, ask, event, raw, token as ownToken, until, world } from "./support/world.mjs";
import { inside } from "./support/vectors.mjs";

const { COOLDOWN, DUE } = inside("../keysets/remote_state");
const [A, B] = [keyPair("a"), keyPair("b")];
const WAYS = ["handshake", "authenticate"];
const now = () => Math.floor(Date.now() / 1000);

/** A guarded server whose tokens come from another server; `present` says how a client gets on. */
async function guardedWorld(t, { via = "handshake", fetchTimeout, ...options } = {}) {
  const server = await keyServer(t, A.jwk);
  const clock = fakeClock();
  const remote = new RemoteKeySet(server.url, { clock, log: () => undefined, fetchTimeout });
  const verifier = new Verifier(remote, { algorithms: remote.algorithms, issuer: SSO, audience: "chat" });
  const made = await world(t, { via, make: (io, more) => guard(io, verifier, more), ...options });
  /** Connect with a token; returns the client and, if it was refused, what it was told. */
  const present = async (token) => {
    const client = made.client(via === "handshake" ? { token } : {});
    if (via === "handshake") {
      await until(() => client.wasConnected || client.heard.length > 0);
      return { client, error: client.heard.find(([name]) => name === "connect_error")?.[2] };
    }
    await event(client, "connect");
    const answer = await ask(client, "authenticate", { token });
    return { client, error: answer.error };
  };
  const admitted = async (token) => {
    const { client, error } = await present(token);
    assert.equal(error, undefined, JSON.stringify(error));
    return client;
  };
  return { ...made, server, clock, remote, present, admitted };
}

for (const via of WAYS) {
  test(`200 sockets on a cold cache cause one fetch: ${via}`, async (t) => {
    const { server, roomkey, admitted } = await guardedWorld(t, { via, fetchTimeout: 10_000 });
    server.respond = held(keys(A.jwk));
    const waiting = Array.from({ length: 200 }, () => admitted(A.token()));
    await server.respond.arrived;
    server.respond.release();
    await Promise.all(waiting);
    assert.deepEqual([roomkey.sockets("ada").length, server.paths.length], [200, 1]);
  });

  test(`a rotation refuses no token, and connected sockets stay: ${via}`, async (t) => {
    const { server, clock, admitted } = await guardedWorld(t, { via });
    const clients = [await admitted(A.token())];
    for (const [older, newer] of [[A, B], [B, A]]) {
      server.publish(newer.jwk, older.jwk);
      for (const key of [newer, older]) clients.push(await admitted(key.token()));
      const [first] = clients;
      assert.ok((await ask(first, "authenticate", { token: newer.token({ exp: now() + 900 }) })).expires_in > 600);
      clock.advance(COOLDOWN);
    }
    assert.ok(clients.every((client) => client.connected));
    assert.equal(server.paths.length, 2); // the first one, and one for the key that was new
  });

  test(`an outage disturbs neither old nor new sockets: ${via}`, async (t) => {
    const { server, clock, remote, present, admitted } = await guardedWorld(t, { via });
    const old = await admitted(A.token());
    server.respond = failing;
    clock.advance(12 * 3600);
    const fresh = await Promise.all(Array.from({ length: 20 }, () => admitted(A.token())));
    await remote.prefetch();
    assert.deepEqual([remote.status().state, remote.status().lastError], ["stale", "status 500"]);
    assert.ok([old, ...fresh].every((client) => client.connected));
    const { error } = await present(B.token());
    assert.deepEqual([error.code, error.retry], ["temporarily_unavailable", true]);
  });

  test(`a slow server delays no handshake beyond the limit, and nobody else: ${via}`, async (t) => {
    const { server, remote, present, admitted } = await guardedWorld(t, { via, fetchTimeout: 1500 });
    await admitted(A.token());
    server.respond = held(keys(A.jwk, B.jwk));
    const started = performance.now();
    const waiting = Array.from({ length: 30 }, () => present(B.token()));
    await server.respond.arrived;
    const before = performance.now();
    await admitted(A.token());
    assert.ok(performance.now() - before < 1400, "a known key waits for nobody");
    const delays = monitorEventLoopDelay({ resolution: 5 });
    delays.enable();
    const answers = await Promise.all(waiting);
    const took = performance.now() - started;
    assert.deepEqual([...new Set(answers.map(({ error }) => error.code))], ["temporarily_unavailable"]);
    assert.ok(took >= 1495 && took < 6000, String(took));
    assert.ok(delays.max / 1e6 < 1400, String(delays.max)); // 50 ms on a quiet machine
    server.respond.release();
    await until(() => remote.status().kids.length === 2);
    await admitted(B.token());
    assert.equal(server.paths.length, 2);
  });

  test(`unknown kids of many sockets cause one fetch for each cooldown: ${via}`, async (t) => {
    const { server, clock, present, admitted } = await guardedWorld(t, { via });
    await admitted(A.token());
    for (let cooldown = 1; cooldown <= 2; cooldown++) {
      const answers = await Promise.all(Array.from({ length: 60 }, (_, at) => present(B.token({}, { kid: `x${cooldown}-${at}` }))));
      assert.ok(answers.every(({ error }) => ["invalid_token", "temporarily_unavailable"].includes(error.code)));
      assert.equal(server.paths.length, 1 + cooldown);
      clock.advance(COOLDOWN);
    }
  });
}

test("the decision's time limit is shorter than the wait", async (t) => {
  const { server, present } = await guardedWorld(t, { decisionTimeout: 200, fetchTimeout: 5000 });
  server.respond = held(keys(A.jwk));
  const started = performance.now();
  const { error } = await present(A.token());
  assert.equal(error.code, "temporarily_unavailable");
  assert.ok(performance.now() - started < 3000);
  server.respond.release();
});

test("a client that leaves while its token waits leaves nothing behind", async (t) => {
  const { server, url, io, roomkey, logs, admitted } = await guardedWorld(t);
  server.respond = held(keys(A.jwk));
  const gone = raw(url, [`40${JSON.stringify({ token: A.token() })}`, 100], { ms: 200 });
  await server.respond.arrived;
  await gone;
  await until(() => io.engine.clientsCount === 0);
  server.respond.release();
  await admitted(A.token());
  assert.deepEqual([roomkey.sockets().length, io.sockets.sockets.size, logs], [1, 1, []]);
});

test("what is revoked while a token waits is refused", async (t) => {
  const { server, roomkey, present } = await guardedWorld(t);
  server.respond = held(keys(A.jwk));
  const waiting = present(A.token({ jti: "t-1" }));
  await server.respond.arrived;
  await roomkey.revoke({ tokenId: "t-1" });
  server.respond.release();
  assert.equal((await waiting).error.reason, "token_revoked");
});

test("a session is recovered with a token whose key has to be fetched", async (t) => {
  const { server, io, url, admitted } = await guardedWorld(t, { server: { connectionStateRecovery: {} } });
  const client = await admitted(A.token());
  io.emit("news", 1);
  await event(client, "news");
  const session = { pid: client._pid, offset: client._lastOffset };
  const { id } = client;
  client.io.engine.close();
  await until(() => io.sockets.sockets.size === 0);
  server.publish(B.jwk, A.jwk);
  const { heard } = await raw(url, [`40${JSON.stringify({ token: B.token(), ...session })}`], { ms: 500 });
  assert.equal(JSON.parse(heard[0].slice(2)).sid, id);
  assert.equal(server.paths.length, 2);
});

test("routes wait for keys, and respond with 503 while nobody knows them", async (t) => {
  const { server, clock, roomkey } = await guardedWorld(t);
  const request = (token) => roomkey.verifyRequest({ headers: { authorization: `Bearer ${token}` }, url: "/" });
  assert.equal((await request(A.token())).subject, "ada");
  server.publish(A.jwk, B.jwk);
  assert.equal((await request(B.token())).subject, "ada");
  server.respond = failing;
  clock.advance(DUE);
  await assert.rejects(request(keyPair("c").token()), { status: 503, headers: { "Retry-After": "1" } });
});

test("several issuers and opaque tokens share a guard", async (t) => {
  const keyServerOfSso = await keyServer(t, A.jwk);
  const endpoint = await keyServer(t);
  endpoint.respond = json({ active: true, iss: SSO, aud: "chat", sub: "grace", exp: now() + 600 });
  const client = { clientId: "chat", clientSecret: "tests-only" };
  const verifier = Verifier.anyOf(
    Verifier.hs256(SECRET, { audience: "chat", issuer: "login" }),
    Verifier.remote(keyServerOfSso.url, { audience: "chat", issuer: SSO, subjectPrefix: "sso:" }),
    Verifier.introspection(endpoint.url, { ...client, audience: "chat", issuer: SSO }),
  );
  const made = await world(t, { make: (io, options) => guard(io, verifier, options) });
  const subjects = async (token) => {
    const client = made.client({ token });
    await until(() => client.wasConnected || client.heard.length > 0);
    return made.roomkey.sockets().map(({ identity }) => identity.subject).at(-1);
  };
  assert.equal(await subjects(ownToken("ada", { iss: "login" })), "ada");
  assert.equal(await subjects(A.token()), "sso:ada");
  assert.equal(await subjects("an-opaque-token"), "grace");
  assert.deepEqual([keyServerOfSso.paths.length, endpoint.paths.length], [1, 1]);
});
