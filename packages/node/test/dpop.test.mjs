// Tokens that are bound to a key: sockets present a proof next to the token (DPoP, RFC 9449).
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { test } from "node:test";
import { ConfigError, Verifier, guard } from "roomkey";
import { SECRET, ask, event, raw, token, until, world } from "./support/world.mjs";
import { inside } from "./support/vectors.mjs";

const URL_OF_SOCKETS = "https://chat.example/socket.io/";
const NONCE_SECRET = "tests-5d6f7a8b9cadbecfd0e1f2031425-only";
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const hash = (text) => createHash("sha256").update(text).digest("base64url");

/** The key pair of a client. */
function clientKey() {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { crv, kty, x, y } = publicKey.export({ format: "jwk" });
  const jwk = { crv, kty, x, y };
  const jkt = hash(JSON.stringify(jwk));
  const proof = (bound, changes = {}) => {
    const iat = Math.floor(Date.now() / 1000);
    const claims = { htm: "GET", htu: URL_OF_SOCKETS, jti: randomUUID(), iat, ath: hash(bound), ...changes };
    const input = `${part({ typ: "dpop+jwt", alg: "ES256", jwk })}.${part(claims)}`;
    return `${input}.${sign("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
  };
  return { jkt, proof, token: (subject = "ada", claims = {}) => token(subject, { cnf: { jkt }, ...claims }) };
}

const key = clientKey();
const other = clientKey();
const dpop = { url: URL_OF_SOCKETS };

/** Present a token; returns undefined if it is admitted, or what the client is told. */
async function present(made, via, payload) {
  const client = made.client(via === "handshake" ? payload : {});
  if (via === "handshake") {
    const refusal = () => client.heard.find(([name]) => name === "connect_error");
    await until(() => client.wasConnected || refusal());
    return { client, error: refusal()?.[2] };
  }
  await event(client, "connect");
  return { client, error: (await ask(client, "authenticate", payload)).error };
}

for (const via of ["handshake", "authenticate"]) {
  test(`a bound token is admitted with a proof alone, once: ${via}`, async (t) => {
    const made = await world(t, { via, dpop });
    const bound = key.token();
    const once = key.proof(bound);
    assert.equal((await present(made, via, { token: bound, dpop: once })).error, undefined);
    assert.deepEqual(made.roomkey.sockets("ada")[0].identity.claims.cnf, { jkt: key.jkt });
    const wrong = [
      [undefined, "invalid_dpop_proof"],
      [once, "invalid_dpop_proof"],
      [5, "invalid_dpop_proof"],
      [key.proof(key.token()), "invalid_dpop_proof"],
      [key.proof(bound, { htm: "POST" }), "invalid_dpop_proof"],
      [key.proof(bound, { iat: 1_600_000_000 }), "invalid_dpop_proof"],
      [other.proof(bound), "invalid_token"],
    ];
    for (const [presented, code] of wrong) {
      const { error } = await present(made, via, { token: bound, dpop: presented });
      assert.equal(error.code, code, JSON.stringify(error));
    }
    assert.equal(made.roomkey.sockets().length, 1);
    assert.ok(!JSON.stringify(made.lines).includes(once), "no proof in the audit log");
  });

  test(`a bound token is refused without the option: ${via}`, async (t) => {
    const made = await world(t, { via });
    const bound = key.token();
    const { error } = await present(made, via, { token: bound, dpop: key.proof(bound) });
    assert.deepEqual([error.code, error.message], ["invalid_dpop_proof", "DPoP proof required"]);
    assert.match(made.lines.at(-1).check, /option dpop/);
    for (const cnf of [{ "x5t#S256": "x" }, {}, null]) {
      assert.equal((await present(made, via, { token: token("ada", { cnf }) })).error.claim, "cnf");
    }
  });

  test(`a proof with a token that is not bound is refused: ${via}`, async (t) => {
    const made = await world(t, { via, dpop });
    const plain = token();
    assert.equal((await present(made, via, { token: plain, dpop: key.proof(plain) })).error.claim, "cnf");
    assert.equal((await present(made, via, { token: plain })).error, undefined);
  });

  test(`a client answers with the nonce of the server: ${via}`, async (t) => {
    const made = await world(t, { via, dpop: { ...dpop, nonceSecret: NONCE_SECRET } });
    const bound = key.token();
    const first = await present(made, via, { token: bound, dpop: key.proof(bound) });
    assert.deepEqual([first.error.code, first.error.retry], ["use_dpop_nonce", true]);
    const { nonce } = first.error;
    const second = await present(made, via, { token: bound, dpop: key.proof(bound, { nonce }) });
    assert.equal(second.error, undefined);
  });
}

test("a refresh requires a proof by the same key", async (t) => {
  const made = await world(t, { dpop });
  const bound = key.token();
  const { client } = await present(made, "handshake", { token: bound, dpop: key.proof(bound) });
  const exp = Math.floor(Date.now() / 1000) + 900;
  const [newer, foreign] = [key.token("ada", { exp }), other.token("ada", { exp })];
  for (const [payload, code] of [
    [{ token: newer }, "invalid_dpop_proof"],
    [{ token: foreign, dpop: other.proof(foreign) }, "invalid_token"],
  ]) {
    assert.equal((await ask(client, "authenticate", payload)).error.code, code);
  }
  assert.ok((await ask(client, "authenticate", { token: newer, dpop: key.proof(newer) })).expires_in > 600);
});

test("a session is recovered with a proof by the same key, and not with a used one", async (t) => {
  const made = await world(t, { dpop, server: { connectionStateRecovery: {} } });
  const bound = key.token();
  const { client } = await present(made, "handshake", { token: bound, dpop: key.proof(bound) });
  made.io.emit("news", 1);
  await event(client, "news");
  const session = { pid: client._pid, offset: client._lastOffset };
  const { id } = client;
  client.io.engine.close();
  await until(() => made.io.sockets.sockets.size === 0);
  made.io.emit("missed", 2);
  const attempt = (payload) => raw(made.url, [`40${JSON.stringify({ ...payload, ...session })}`], { ms: 1000 });
  const [once, foreign] = [key.proof(bound), other.token()];
  assert.equal((await present(made, "handshake", { token: bound, dpop: once })).error, undefined);
  assert.match((await attempt({ token: bound, dpop: once })).heard[0], /^44/);
  const another = await attempt({ token: foreign, dpop: other.proof(foreign) });
  assert.ok(another.heard[0].startsWith("40") && !another.heard[0].includes(id), another.heard[0]);
  const { heard } = await attempt({ token: bound, dpop: key.proof(bound) });
  assert.match(heard[0], /^42\["missed",2,/);
  assert.equal(JSON.parse(heard[1].slice(2)).sid, id);
});

test("a setting requires bound tokens", async (t) => {
  const made = await world(t, { dpop: { ...dpop, required: true } });
  assert.equal((await present(made, "handshake", { token: token() })).error.message, "DPoP proof required");
});

test("routes reject bound tokens", async (t) => {
  const made = await world(t, { dpop });
  const request = (authorization, more) => made.roomkey.verifyRequest({ headers: { authorization, ...more }, url: "/" });
  const bound = key.token();
  await assert.rejects(request(`Bearer ${bound}`), { status: 401, message: "DPoP proof required" });
  await assert.rejects(request(`DPoP ${bound}`, { dpop: key.proof(bound) }), { status: 401 });
  assert.equal((await request(`Bearer ${token()}`)).subject, "ada");
});

test("the guard checks the binding after the application's own verifier", async (t) => {
  const verifier = Verifier.hs256(SECRET, { audience: "chat" });
  const careless = { verify: (presented, now, source) => verifier.verify(presented, now, source, key.jkt) };
  const made = await world(t, { dpop, make: (io, options) => guard(io, careless, options) });
  const bound = key.token();
  assert.equal((await present(made, "handshake", { token: bound })).error.code, "invalid_dpop_proof");
  assert.equal((await present(made, "handshake", { token: bound, dpop: other.proof(bound) })).error.claim, "cnf");
  assert.equal((await present(made, "handshake", { token: bound, dpop: key.proof(bound) })).error, undefined);
});

test("the memory of proofs has bounds, and forgets nothing too early", () => {
  const { DPoP } = inside("dpop");
  const { UsedProofs, LIFETIME } = inside("used_proofs");
  const used = new UsedProofs(new DPoP({ ...dpop, maxProofs: 3, maxProofsPerSubject: 2 }));
  const use = (id, subject, at, issuedAt = at) => used.use({ key: "k", id, issuedAt }, { issuer: null, subject }, at);
  use("one", "ada", 0);
  use("two", "ada", 0);
  assert.throws(() => use("one", "ada", LIFETIME, 0), { code: "invalid_dpop_proof" });
  assert.throws(() => use("three", "ada", 0), { code: "limit_exceeded" });
  use("one of eve", "eve", 1);
  assert.throws(() => use("two of eve", "eve", LIFETIME), { code: "temporarily_unavailable" });
  use("three", "ada", LIFETIME + 1);
  assert.equal(used.size, 2);
  assert.throws(() => use("one", "ada", LIFETIME + 1, 0), { code: "invalid_dpop_proof" }); // the clock was set back
});

test("the packet with the longest token and proof fits", async (t) => {
  const maxAnonymousPacket = 8192 + 1024;
  await world(t, { maxAnonymousPacket });
  await assert.rejects(world(t, { maxAnonymousPacket, dpop }), ConfigError);
});

test("settings that are not safe are rejected", async (t) => {
  const make = (options) => world(t, { dpop: options });
  for (const wrong of [{}, "x", { url: "http://chat.example/socket.io/" }, { ...dpop, maxProofs: 0 }, { ...dpop, nonceSecret: 5 }]) {
    await assert.rejects(make(wrong), ConfigError);
  }
  await assert.rejects(world(t, { via: "authenticate", maxAttempts: 1, dpop: { ...dpop, nonceSecret: NONCE_SECRET } }), ConfigError);
});
