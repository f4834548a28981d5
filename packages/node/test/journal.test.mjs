// The journal of revocations: who it believes, and what happens while it is unavailable.
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:http";
import { test } from "node:test";
import { ConfigError, Verifier, guard } from "roomkey";
import { Server } from "socket.io";
import { keyServer } from "./support/key_server.mjs";
import { SECRET, ask, event, monotonicClock, sleep, until, world } from "./support/world.mjs";

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const jwks = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k", alg: "ES256" }] };
const verifier = Verifier.jwks(jwks, { algorithms: ["ES256"], audience: "chat", issuer: "login" });
const now = () => Math.floor(Date.now() / 1000);

function signed(payload, { typ = "revocations+jwt", key = privateKey } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${part({ alg: "ES256", kid: "k", typ })}.${part(payload)}`;
  return `${input}.${sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

const access = (sub, claims = {}) => signed({ iss: "login", aud: "chat", sub, iat: now(), exp: now() + 600, jti: `t-${sub}`, ...claims }, { typ: "at+jwt" });

/** A login server of the test's making: `answer(after)` makes the body of each response. */
async function login(t, answer, staleAfter = 20_000) {
  const asked = [];
  const http = createServer(async (request, response) => {
    const after = Number(new URL(request.url, "http://x").searchParams.get("after"));
    asked.push([after, request.headers.authorization]);
    const { status = 200, body } = await answer(after);
    response.writeHead(status, { "Content-Type": "application/jwt" });
    response.end(body);
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  t.after(() => (http.closeAllConnections(), http.close()));
  const url = `http://127.0.0.1:${http.address().port}/auth/revocations`;
  return { asked, journal: { url, clientId: "node server", clientSecret: "s:%", wait: 1, staleAfter } };
}

const part = (after, position, revocations = [], more = {}) =>
  ({ iss: "login", aud: "node server", iat: now(), exp: now() + 60, after, position, revocations, ...more });
const entry = (kind, name, more = {}) => ({ kind, name, issuer: null, issued_before: now(), expires_at: null, ...more });

async function guarded(t, journal, by = verifier) {
  const made = await world(t, { make: (io, options) => guard(io, by, { ...options, journal }) });
  made.join = async (sub, claims) => {
    const client = made.client({ token: access(sub, claims) });
    await until(() => client.wasConnected || client.heard.length > 0);
    return client;
  };
  return made;
}

test("revocations of the journal end sockets, and refuse their tokens", async (t) => {
  const entries = [];
  const { asked, journal } = await login(t, async (after) => {
    for (let count = 0; count < 20 && entries.length <= after; count++) await sleep(20);
    return { body: signed(part(after, entries.length, entries.slice(after))) };
  });
  entries.push(entry("subject", "early", { issued_before: now() + 5 }));
  const made = await guarded(t, journal);
  await until(() => asked.length > 1);
  assert.equal(asked[0][1], `Basic ${Buffer.from("node+server:s%3A%25").toString("base64")}`);
  assert.equal((await made.join("early")).heard[0][1], "jwt revoked");
  const [ada, bob] = [await made.join("ada"), await made.join("bob", { sid: "s" })];
  entries.push(entry("token", "t-ada"), entry("session", "other"), { kind: "unknown", name: "bob" }, entry("subject", "bad\u0000name"));
  await event(ada, "disconnect");
  entries.push(entry("session", "s"));
  await event(bob, "disconnect");
  assert.equal(bob.heard[0][1].data.reason, "token_revoked");
});

test("a journal is signed with keys that the verifier fetches", async (t) => {
  const keys = await keyServer(t, jwks.keys[0]);
  const ours = Verifier.remote(keys.url, { audience: "chat", issuer: "login" });
  const other = Verifier.hs256(SECRET, { issuer: "other" });
  for (const by of [ours, Verifier.anyOf(other, ours)]) {
    const revoked = [entry("subject", "ada", { issued_before: now() + 5 })];
    const { asked, journal } = await login(t, async (after) => ({ body: signed(part(after, 1, after === 0 ? revoked : [])) }));
    const made = await guarded(t, journal, by);
    await until(() => asked.some(([after]) => after === 1)); // the first part is applied
    assert.equal((await made.join("ada")).heard[0][1], "jwt revoked");
    assert.equal((await made.join("bob")).connected, true);
    assert.deepEqual(made.logs, []);
  }
  assert.equal(keys.paths.length, 1);
});

test("while the journal is unavailable, new tokens are refused and sockets stay", async (t) => {
  let up = false;
  const move = monotonicClock(t);
  const { asked, journal } = await login(t, async (after) => (up ? { body: signed(part(after, after)) } : { status: 503, body: "" }));
  const made = await guarded(t, journal);
  await until(() => asked.length > 0);
  assert.deepEqual((await made.join("ada")).heard[0][2].code, "temporarily_unavailable");
  up = true;
  await until(() => asked.length > 3);
  const ada = await made.join("ada");
  assert.equal(ada.connected, true);
  up = false;
  made.logs.length = 0;
  await until(() => made.logs.length > 0);
  assert.equal((await made.join("carl")).connected, true);
  move(20);
  const refused = await made.join("bob");
  assert.deepEqual([refused.heard[0][2].reason, refused.heard[0][2].retry], ["temporarily_unavailable", true]);
  assert.equal(ada.connected, true);
  assert.equal((await ask(ada, "authenticate", { token: access("ada", { exp: now() + 900 }) })).error.reason, "temporarily_unavailable");
  assert.equal(ada.connected, true);
  up = true;
  for (let count = 0; count < 40 && !(await made.join("bob")).connected; count++) await sleep(50);
  assert.equal((await made.join("bob")).connected, true);
});

test("a login server that lets nobody wait is not asked without a pause", async (t) => {
  const { asked, journal } = await login(t, async (after) => ({ body: signed(part(after, after)) }));
  await guarded(t, { ...journal, wait: 0 });
  await until(() => asked.length > 0);
  await sleep(300);
  assert.ok(asked.length < 3, String(asked.length));
});

const FORGED = {
  "of another key": () => signed(part(0, 1), { key: stranger }),
  "of another type": () => signed(part(0, 1), { typ: "at+jwt" }),
  "an access token": () => access("ada"),
  "for another client": () => signed(part(0, 1, [], { aud: "other" })),
  "of another issuer": () => signed(part(0, 1, [], { iss: "other" })),
  "that has expired": () => signed(part(0, 1, [], { exp: now() - 60, iat: now() - 120 })),
  "of another position": () => signed(part(7, 8)),
  "without a list": () => signed(part(0, 1, null)),
  "that is not one": () => "<html>",
  "that was cut": () => signed(part(0, 1)).slice(0, -3),
  "with more after its end": () => `${signed(part(0, 1))}.x`,
  "that is too long": () => signed(part(0, 1, [], { padding: "x".repeat(9_000_000) })),
  "of the future": () => signed(part(0, 1, [], { nbf: now() + 600 })),
  "with a position that is not a number": () => signed(part(0, "1")),
};
for (const [name, forge] of Object.entries(FORGED)) {
  test(`a part ${name} is not believed`, async (t) => {
    const { asked, journal } = await login(t, async () => ({ body: forge() }));
    const made = await guarded(t, journal);
    await until(() => asked.length > 1);
    assert.ok(asked.every(([after]) => after === 0));
    assert.equal((await made.join("ada")).heard[0][2].code, "temporarily_unavailable");
  });
}

test("settings of a journal that must fail", () => {
  const good = { url: "https://login.example/auth/revocations", clientId: "a", clientSecret: "b" };
  for (const wrong of [{ url: "http://login.example/x" }, { url: "login" }, { clientId: "" }, { clientSecret: undefined }, { staleAfter: 0 }, { staleAfter: 20_000 }, { wait: -1 }, { wait: 0.5 }]) {
    assert.throws(() => guard(new Server(), verifier, { journal: { ...good, ...wrong } }), ConfigError, JSON.stringify(wrong));
  }
  assert.throws(() => guard(new Server(), { verify: () => undefined }, { journal: good }), /checks its signatures/);
});

test("a journal is not read from where a redirect leads, and its client's secret does not go there", async (t) => {
  const target = await login(t, async (after) => ({ body: signed(part(after, after)) }));
  const http = createServer((request, response) => response.writeHead(307, { Location: target.journal.url }).end());
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  t.after(() => (http.closeAllConnections(), http.close()));
  const made = await guarded(t, { ...target.journal, url: `http://127.0.0.1:${http.address().port}/auth/revocations` });
  await until(() => made.logs.length > 0);
  assert.equal((await made.join("ada")).heard[0][2].code, "temporarily_unavailable");
  assert.deepEqual(target.asked, []);
});
