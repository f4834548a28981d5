// Tokens that are bound to a key: each is presented with a new proof (DPoP, RFC 9449).
import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { test } from "node:test";
import { dpopKey } from "roomkey-client";
import { login, refusal, soon, warn, world } from "./support/world.mjs";

const hash = (text) => createHash("sha256").update(text).digest("base64url");
const json = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
const NONCE = refusal("use_dpop_nonce", { code: "use_dpop_nonce", retry: true });
NONCE.data.nonce = "n1";

/** The claims of a proof whose signature, header and key are as they must be. */
function claimsOf(proof, key) {
  const [header, payload, signature] = proof.split(".");
  const { jwk, ...rest } = json(header);
  assert.deepEqual(rest, { typ: "dpop+jwt", alg: "ES256" });
  assert.deepEqual(Object.keys(jwk), ["crv", "kty", "x", "y"]);
  assert.equal(hash(JSON.stringify(jwk)), key.thumbprint);
  const verifying = { key: createPublicKey({ key: jwk, format: "jwk" }), dsaEncoding: "ieee-p1363" };
  assert.ok(verify("sha256", Buffer.from(`${header}.${payload}`), verifying, Buffer.from(signature, "base64url")));
  return json(payload);
}

test("a proof names the request and the token", async () => {
  const key = await dpopKey("names");
  const { iat, jti, ...claims } = claimsOf(await key.proof({ method: "POST", url: "https://a/token", token: "t", nonce: "n" }), key);
  assert.deepEqual(claims, { htm: "POST", htu: "https://a/token", ath: hash("t"), nonce: "n" });
  assert.ok(Math.abs(iat - Date.now() / 1000) < 5 && jti.length > 20);
  const other = claimsOf(await key.proof({ method: "POST", url: "https://a/token" }), key);
  assert.deepEqual(Object.keys(other), ["htm", "htu", "jti", "iat"]);
  assert.notEqual(other.jti, jti);
});

test("a name has one key", async () => {
  const [first, second] = await Promise.all([dpopKey("same"), dpopKey("same")]);
  assert.equal(first.thumbprint, second.thumbprint);
  assert.notEqual((await dpopKey("another")).thumbprint, first.thumbprint);
});

test("each connection and each renewal presents a new proof", async (t) => {
  const server = await world(t);
  const key = await dpopKey("proofs");
  const { refresh, tokens } = login();
  server.connect({ refresh, tokens, dpop: key });
  const htu = `${server.url}/socket.io/`;
  const first = await server.sockets.next();
  const proofs = [[first.handshake.auth, "t0"]];
  const renewal = soon(new Promise((resolve) => first.once("authenticate", resolve)), "authenticate");
  warn(first);
  proofs.push([await renewal, "t1"]);
  first.conn.close();
  proofs.push([(await server.sockets.next()).handshake.auth, "t1"]);
  const seen = proofs.map(([payload, token]) => {
    const claims = claimsOf(payload.dpop, key);
    assert.deepEqual([payload.token, claims.htm, claims.htu, claims.ath], [token, "GET", htu, hash(token)]);
    return claims.jti;
  });
  assert.equal(new Set(seen).size, 3);
});

for (const via of ["handshake", "authenticate"]) {
  test(`the next proof has the nonce that the server asked for: ${via}`, async (t) => {
    const server = await world(t, { quarantine: via === "authenticate", verdicts: { only: NONCE } });
    const key = await dpopKey("nonces");
    const client = server.connect({ token: "only", dpop: key, via, path: "/socket.io/" });
    await server.presented.next();
    delete server.verdicts.only;
    const socket = await server.sockets.next();
    assert.deepEqual(server.presented.all, ["only", "only"]);
    if (via === "handshake") assert.equal(claimsOf(socket.handshake.auth.dpop, key).nonce, "n1");
    assert.deepEqual(client.ended.all, []);
  });
}

test("without the option, no proof is presented", async (t) => {
  const server = await world(t);
  server.connect({ token: "t" });
  assert.deepEqual((await server.sockets.next()).handshake.auth, { token: "t" });
});
