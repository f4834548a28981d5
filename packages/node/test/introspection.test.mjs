// Tokens that another server reads, against an endpoint on loopback that answers as each test says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { ConfigError, IntrospectionVerifier, MalformedToken, MissingClaim, Unavailable, Verifier, verifyWaiting } from "roomkey";
import { SSO, cut, failing, fakeClock, held, html, json, keyPair, keyServer, redirect, respond } from "./support/key_server.mjs";
import { inside } from "./support/vectors.mjs";

const { Answers, MAX_ANSWERS, MAX_ASKED, NEGATIVE, POSITIVE, UNANSWERED } = inside("../keysets/introspection");
const OPAQUE = "kq3TR-opaque_token.with~all+kinds/of==";
const now = () => Math.floor(Date.now() / 1000);
const active = (members = {}) => ({ active: true, sub: "ada", exp: now() + 900, aud: "chat", iss: SSO, ...members });
const EXPIRED = { message: "jwt expired" };

async function askingWorld(t, options = {}) {
  const server = await keyServer(t);
  server.respond = json(active());
  const [clock, logs] = [fakeClock(), []];
  const make = (more) => {
    const client = { clientId: "room key", clientSecret: "s/e:cret" };
    const log = (message) => logs.push(message);
    return new IntrospectionVerifier(server.url, { issuer: SSO, audience: "chat", ...client, clock, log, ...options, ...more });
  };
  const verifier = make();
  const verify = (token = OPAQUE, { by = verifier, at } = {}) => verifyWaiting(() => by.verify(token, at ?? Date.now() / 1000));
  return { server, clock, logs, make, verifier, verify };
}

test("the endpoint is asked with the token in the body", async (t) => {
  const { server, verify } = await askingWorld(t);
  assert.equal((await verify()).subject, "ada");
  assert.deepEqual(Object.fromEntries(new URLSearchParams(server.bodies[0])), { token: OPAQUE, token_type_hint: "access_token" });
  assert.deepEqual(server.paths, ["/"]);
  assert.match(server.heads[0], /Authorization: Basic cm9vbSUyMGtleTpzJTJGZSUzQWNyZXQ=/); // RFC 6749 section 2.3.1
});

test("a positive answer is kept for a minute", async (t) => {
  const { server, clock, verifier, verify } = await askingWorld(t);
  await verify();
  server.respond = json({ active: false });
  clock.advance(POSITIVE - 0.1);
  assert.equal(verifier.verify(OPAQUE).subject, "ada");
  clock.advance(0.1);
  await assert.rejects(verify(), EXPIRED);
  assert.equal(server.paths.length, 2);
});

test("a positive answer is never used past exp", async (t) => {
  const { server, verifier, verify } = await askingWorld(t);
  const at = now();
  server.respond = json(active({ exp: at + 5 }));
  assert.equal((await verify(OPAQUE, { at })).subject, "ada");
  assert.throws(() => verifier.verify(OPAQUE, at + 5), EXPIRED);
});

test("a negative answer is kept for ten seconds", async (t) => {
  const { server, clock, verify } = await askingWorld(t);
  server.respond = json({ active: false });
  for (let count = 0; count < 3; count++) await assert.rejects(verify(), (error) => error.toClient().retry === true);
  assert.equal(server.paths.length, 1);
  server.respond = json(active());
  clock.advance(NEGATIVE);
  assert.equal((await verify()).subject, "ada");
});

test("an answer for others is rejected", async (t) => {
  for (const [members, claim] of [
    [{ aud: "other" }, "aud"],
    [{ aud: ["other"] }, "aud"],
    [{ aud: null }, "aud"],
    [{ iss: "https://evil.example" }, "iss"],
    [{ iss: 7 }, "iss"],
    [{ sub: 7 }, "sub"],
    [{ sub: "" }, "sub"],
    [{ exp: "900" }, "exp"],
    [{ exp: 1e30 }, "exp"],
    [{ nbf: 32_503_680_000 }, "nbf"],
    [{ token_type: "refresh_token" }, "token_type"],
    [{ typ: "Refresh" }, "typ"],
  ]) {
    const { server, verify } = await askingWorld(t);
    server.respond = json(active(members));
    await assert.rejects(verify(), { claim }, JSON.stringify(members));
    assert.equal(server.paths.length, 1);
  }
});

test("sub is required unless the settings allow otherwise", async (t) => {
  const { server, make, verify } = await askingWorld(t);
  server.respond = json(active({ sub: undefined, client_id: "robot" }));
  await assert.rejects(verify(), MissingClaim);
  assert.equal((await verify(OPAQUE, { by: make({ require: ["exp"] }) })).subject, "");
  assert.equal((await verify(OPAQUE, { by: make({ claimsMap: { subject: "client_id" } }) })).subject, "robot");
});

test("iss may be missing in the answer", async (t) => {
  const { server, verify } = await askingWorld(t);
  server.respond = json(active({ iss: undefined }));
  assert.equal((await verify()).issuer, SSO);
});

test("a failure of the endpoint makes all tokens unavailable", async (t) => {
  const statuses = [401, 403, 404, 429, 502, 503, 504].map((status) => respond("{}", { status: `${status} No` }));
  for (const respondBadly of [cut, redirect("http://127.0.0.1:9/"), ...statuses]) {
    const { server, clock, logs, verifier, verify } = await askingWorld(t);
    server.respond = respondBadly;
    for (const token of [OPAQUE, OPAQUE, "another"]) await assert.rejects(verify(token), Unavailable);
    assert.deepEqual([server.paths.length, logs.length, verifier.status().failures], [1, 1, 1]);
    server.respond = json(active());
    clock.advance(1);
    assert.equal((await verify()).subject, "ada");
    assert.match(logs[1], /answers again/);
  }
});

test("a bad answer makes one token unavailable", async (t) => {
  const bad = [failing, html, json({}), json({ active: "true" }), json({ active: 1 }), json([true]),
    respond('{"active": false, "active": true}'), json({ active: true, x: "x".repeat(70_000) }),
    respond('{"__proto__":{"active":true}}')];
  for (const respondBadly of bad) {
    const { server, clock, logs, verifier, verify } = await askingWorld(t);
    server.respond = respondBadly;
    for (const token of ["bad-1", "bad-2", "bad-3", "bad-1", "bad-2", "bad-3"]) await assert.rejects(verify(token), Unavailable);
    const { failures, lastError } = verifier.status();
    assert.deepEqual([server.paths.length, logs.length, failures], [3, 1, 0]);
    assert.notEqual(lastError, null);
    server.respond = json(active());
    assert.equal((await verify()).subject, "ada");
    await assert.rejects(verify("bad-1"), Unavailable);
    clock.advance(UNANSWERED);
    assert.equal((await verify("bad-1")).subject, "ada");
  }
});

test("a wrong question is about one token only", async (t) => {
  for (const status of [400, 413, 414, 422]) {
    const { server, verify } = await askingWorld(t);
    server.respond = respond('{"error":"unsupported_token_type"}', { status: `${status} Bad Request` });
    for (let count = 0; count < 2; count++) await assert.rejects(verify("another.kind.of-token"), EXPIRED);
    assert.equal(server.paths.length, 1);
    server.respond = json(active());
    assert.equal((await verify()).subject, "ada");
  }
});

test("what is not a token is not asked about", async (t) => {
  const { server, verify } = await askingWorld(t);
  for (const token of [null, 7, ["opaque"], "", "a b", "a\nb", "opaque\n", "ä", "a=b", "x".repeat(9000), "{}"]) {
    await assert.rejects(verify(token), MalformedToken);
  }
  assert.equal(server.paths.length, 0);
});

test("100 sockets with one token ask once", async (t) => {
  const { server, verify } = await askingWorld(t);
  server.respond = held(json(active()));
  const waiting = Array.from({ length: 100 }, () => verify());
  await server.respond.arrived;
  server.respond.release();
  assert.ok((await Promise.all(waiting)).every(({ subject }) => subject === "ada"));
  assert.equal(server.paths.length, 1);
});

test("too many tokens at once are unavailable", async (t) => {
  const { server, verifier } = await askingWorld(t);
  server.respond = held(json(active()));
  const lookups = [];
  for (let count = 0; count < MAX_ASKED + 30; count++) {
    assert.throws(() => verifier.verify(`opaque-${count}`), (error) => error instanceof Unavailable && lookups.push(error.lookup) > 0);
  }
  const waiting = lookups.filter((lookup) => lookup !== null);
  assert.equal(waiting.length, MAX_ASKED);
  await server.respond.arrived;
  assert.equal(verifier.status().asked, 8); // at the same time
  server.respond.release();
  await Promise.all(waiting.map((lookup) => lookup.wait(20)));
  assert.equal(verifier.status().asked, MAX_ASKED);
  assert.equal(verifier.verify("opaque-0").subject, "ada");
});

test("answers are bounded", () => {
  const answers = new Answers();
  for (let count = 0; count < MAX_ANSWERS + 10; count++) answers.put(String(count), null, 0);
  assert.deepEqual([answers.size, answers.get("9", 0), answers.get("10", 0)], [MAX_ANSWERS, undefined, null]);
});

test("tokens and secrets are not logged", async (t) => {
  const { server, logs, verifier, verify } = await askingWorld(t);
  server.respond = failing;
  const error = await verify().catch((caught) => caught);
  const shown = [...logs, error.stack, error.detail, inspect(verifier, { depth: 9 }), JSON.stringify(verifier.status())].join();
  assert.match(shown, /status 500/);
  assert.ok(!shown.includes(OPAQUE) && !shown.includes("cret"));
});

test("anyOf asks about tokens that are not a JSON Web Token", async (t) => {
  const { server, make, verifier, verify } = await askingWorld(t);
  const key = keyPair("a");
  const jwt = Verifier.jwks({ keys: [key.jwk] }, { algorithms: ["ES256"], issuer: SSO, audience: "chat" });
  for (const [count, by] of [Verifier.anyOf(verifier, jwt), Verifier.anyOf(jwt, verifier)].entries()) {
    assert.equal((await verify(key.token(), { by })).subject, "ada");
    assert.equal((await verify(`opaque-${count}`, { by })).subject, "ada");
    assert.equal(server.paths.length, count + 1);
  }
  assert.throws(() => Verifier.anyOf(verifier, make()), /two verifiers/);
  assert.throws(() => Verifier.anyOf(verifier, make({ issuer: "https://b.example" })), /two verifiers use introspection/);
});

test("unusable settings are rejected", () => {
  const client = { clientId: "me", clientSecret: "secret" };
  for (const [url, options] of [
    ["http://sso.example", client],
    ["https://sso.example/introspect", { clientId: "me", clientSecret: "" }],
    ["https://sso.example/introspect", { clientId: "me" }],
    ["https://sso.example/introspect", { ...client, fetchTimeout: 0 }],
    ["https://sso.example/introspect", { ...client, tokenType: "at+jwt" }],
    ["https://sso.example/introspect", { ...client, algorithms: ["ES256"] }],
  ]) {
    assert.throws(() => Verifier.introspection(url, options), ConfigError);
  }
  assert.ok(Verifier.introspection("https://sso.example/introspect", client).requiresSubject);
});
