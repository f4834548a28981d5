// The keys of another server, against a server on loopback that answers as each test says.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Agent } from "node:http";
import { test } from "node:test";
import { BadSignature, ConfigError, RemoteKeySet, UnknownKey, Unavailable, Verifier, verifyWaiting } from "roomkey";
import { SSO, cut, drip, failing, fakeClock, held, html, huge, json, keyPair, keyServer, keys, mute, redirect, respond, silent } from "./support/key_server.mjs";
import { inside } from "./support/vectors.mjs";

const { FetchError, fetchBody } = inside("../keysets/fetching");
const { COOLDOWN, DUE, FRESH, KEPT } = inside("../keysets/remote_state");
const [A, B, RSA] = [keyPair("a"), keyPair("b"), keyPair("rsa", "RS256")];

/** A key server, its keys, and a verifier with a clock of the test. */
async function remoteWorld(t, { listed = [A.jwk], ...options } = {}) {
  const server = await keyServer(t, ...listed);
  const [clock, logs] = [fakeClock(), []];
  const remote = new RemoteKeySet(`${server.url}/jwks`, { clock, log: (message) => logs.push(message), ...options });
  const settings = { algorithms: remote.algorithms, issuer: SSO, audience: "chat" };
  const verifier = new Verifier(remote, settings);
  const verify = (token) => verifyWaiting(() => verifier.verify(token));
  return { server, clock, logs, remote, verifier, verify, settings };
}

const subject = async (verified) => (await verified).subject;

test("the first token waits for the keys", async (t) => {
  const { server, verifier, verify } = await remoteWorld(t);
  assert.throws(() => verifier.verify(A.token()), (error) => error instanceof Unavailable && error.lookup !== null && error.toClient().retry);
  assert.equal(await subject(verify(A.token())), "ada");
  assert.equal(server.paths.length, 1);
});

test("without keys, a token with a wrong claim is rejected, and one that expired or lacks its proof waits", async (t) => {
  const { server, verifier } = await remoteWorld(t);
  server.respond = silent;
  for (const claims of [{ aud: "other" }, { iss: "https://other.example" }, { sub: 5 }, { cnf: { jkt: "x" } }]) {
    assert.throws(() => verifier.verify(A.token(claims)), (error) => {
      assert.deepEqual(error.toClient(), new UnknownKey().toClient()); // nothing about claims: anyone can write a token
      return error instanceof UnknownKey && error.detail.startsWith("the keys are unknown, and the token is not acceptable: ");
    });
  }
  assert.throws(() => verifier.verify(A.token({ exp: 1 })), Unavailable); // so that its client connects again
  assert.throws(() => verifier.verify(A.token({ cnf: { jkt: "A".repeat(43) } })), Unavailable); // so that it learns of the proof
});

test("200 verifications at once share one fetch", async (t) => {
  const { server, verify } = await remoteWorld(t);
  server.respond = held(keys(A.jwk));
  const waiting = Array.from({ length: 200 }, () => subject(verify(A.token())));
  await server.respond.arrived;
  server.respond.release();
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["ada"]));
  assert.equal(server.paths.length, 1);
});

test("verifications that waited continue a few at a time", async (t) => {
  const { server, verifier } = await remoteWorld(t);
  server.respond = held(keys(A.jwk));
  const turns = new Set();
  let turn = 0;
  const verify = () => {
    const who = verifier.verify(A.token());
    turns.add(turn);
    return who;
  };
  const waiting = Array.from({ length: 160 }, () => verifyWaiting(verify));
  await server.respond.arrived;
  const count = setInterval(() => (turn += 1), 0);
  server.respond.release();
  await Promise.all(waiting);
  clearInterval(count);
  assert.ok(turns.size > 1, "timers run in between");
});

test("a known key never waits", async (t) => {
  const { server, clock, remote, verifier } = await remoteWorld(t);
  await remote.prefetch();
  server.respond = held(keys(A.jwk));
  clock.advance(FRESH);
  assert.equal(verifier.verify(A.token()).subject, "ada"); // this one starts the fetch
  await server.respond.arrived;
  assert.equal(verifier.verify(A.token()).subject, "ada");
  assert.equal(remote.status().state, "stale");
  server.respond.release();
  await remote.prefetch();
  assert.equal(remote.status().state, "fresh");
  assert.equal(server.paths.length, 2);
});

test("a rotation rejects no token", async (t) => {
  const { server, clock, remote, verify } = await remoteWorld(t);
  assert.equal(await subject(verify(A.token())), "ada");
  for (const [older, newer] of [[A, B], [B, RSA]]) {
    server.publish(newer.jwk, older.jwk);
    assert.equal(await subject(verify(newer.token())), "ada"); // immediately after the fetch before
    assert.equal(await subject(verify(older.token())), "ada");
    clock.advance(COOLDOWN);
  }
  assert.equal(server.paths.length, 3);
  server.publish(RSA.jwk);
  clock.advance(DUE);
  await remote.prefetch();
  await assert.rejects(verify(A.token()), UnknownKey);
});

const MISBEHAVIOUR = {
  500: failing,
  cut,
  silent,
  "a web page": html,
  "100 MB": huge(),
  "a redirect": redirect("http://127.0.0.1:9/"),
  404: respond("{}", { status: "404 Not Found" }),
  204: respond("", { status: "204 No Content" }),
  101: (connection) => connection.end("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
  "no HTTP": (connection) => connection.end("\0\xff\r\n\r\n"),
  "an empty body": respond(""),
  "an empty set": keys(),
  "no set": json({ issuer: SSO }),
  "a list": json([A.jwk]),
  "one key": json(B.jwk),
  nonsense: respond("\0\xff".repeat(100)),
  nested: respond(`{"keys":${"[".repeat(100_000)}`),
  "a duplicate member": respond('{"keys":[],"keys":[]}'),
  "101 keys": json({ keys: Array(101).fill(A.jwk) }),
  "257 KiB": json({ keys: [A.jwk], x: "x".repeat(257 * 1024) }),
  "a compressed body": respond("{}", { headers: "Content-Encoding: gzip\r\n" }),
  "a private key alone": keys(B.secret),
  "a secret alone": keys({ kty: "oct", k: "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLUhTMjU2IQ" }),
  "a key to encrypt alone": keys({ ...B.jwk, use: "enc" }),
  "alg none": keys({ ...B.jwk, alg: "none" }),
  "keys as an object": json({ keys: { a: B.jwk } }),
  "a prototype": respond('{"__proto__":{"keys":[]}}'),
};

for (const [name, misbehaviour] of Object.entries(MISBEHAVIOUR)) {
  test(`a bad answer leaves the keys in use: ${name}`, async (t) => {
    const { server, clock, remote, verifier } = await remoteWorld(t);
    await remote.prefetch();
    server.respond = misbehaviour;
    clock.advance(DUE);
    await remote.prefetch();
    const { kids, failures, lastError } = remote.status();
    assert.deepEqual([kids, failures, server.paths.length], [["a"], 1, 2]);
    assert.ok(lastError);
    assert.equal(verifier.verify(A.token()).subject, "ada");
    server.publish(B.jwk);
    clock.advance(1);
    await remote.prefetch();
    assert.deepEqual([remote.status().kids, remote.status().lastError], [["b"], null]);
  });

  test(`a bad first answer makes the keys unavailable: ${name}`, async (t) => {
    const { server, clock, verify } = await remoteWorld(t);
    server.respond = misbehaviour;
    for (let count = 0; count < 3; count++) await assert.rejects(verify(A.token()), Unavailable);
    assert.equal(server.paths.length, 1); // the others back off
    server.publish(A.jwk);
    clock.advance(1);
    assert.equal(await subject(verify(A.token())), "ada");
  });
}

test("100 MB are not read", async (t) => {
  const { server, remote } = await remoteWorld(t);
  server.respond = huge();
  await remote.prefetch();
  assert.equal(remote.status().lastError, "more than 262144 bytes");
  assert.ok(server.respond.sent < 20_000_000, String(server.respond.sent)); // what fits into the buffers of the system
});

/** Servers that keep the client busy around a body: each sends its first text, and then the other one again and again. */
const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const BUSY = {
  "interim responses": ["", "HTTP/1.1 102 Processing\r\n\r\n"],
  "long interim responses": ["", `HTTP/1.1 103 Early Hints\r\n${"X-A: b\r\n".repeat(500)}\r\n`],
  "chunks of one byte": [CHUNKED, "1\r\n \r\n"],
  "chunks with extensions": [CHUNKED, `1;${"x".repeat(60)}\r\n \r\n`],
  headers: ["HTTP/1.1 200 OK\r\n", "X-A: b\r\n"],
  trailers: [`${CHUNKED}2\r\n{}\r\n0\r\n`, "X-A: b\r\n"],
};
const HOSTILE_BYTES = 30_000_000;

for (const [name, [first, again]] of Object.entries(BUSY)) {
  test(`a server cannot keep a request busy with ${name}`, async (t) => {
    const server = await keyServer(t);
    const block = Buffer.from(again.repeat(Math.ceil(65_536 / again.length)));
    let sent = 0;
    server.respond = (connection) => {
      const more = () => {
        while (sent < HOSTILE_BYTES && !connection.destroyed && connection.write(block)) sent += block.length;
      };
      connection.on("error", () => undefined).on("drain", more).write(first);
      more();
    };
    await assert.rejects(fetchBody({ url: server.url, maxBytes: 262_144 }), FetchError);
    assert.ok(sent < HOSTILE_BYTES / 2, String(sent)); // what fits into the buffers of the system
  });
}

test("a redirect is not followed", async (t) => {
  const { server, remote } = await remoteWorld(t);
  const other = await keyServer(t, B.jwk);
  server.respond = redirect(`${other.url}/jwks`);
  await remote.prefetch();
  assert.equal(other.paths.length, 0);
  assert.deepEqual(remote.status().kids, []);
  assert.match(remote.status().lastError, /status 302: roomkey follows no redirects/);
});

test("an unreachable server makes the keys unavailable", async (t) => {
  const { server, remote } = await remoteWorld(t);
  server.close();
  await remote.prefetch();
  assert.equal(remote.status().lastError, "ECONNREFUSED");
  assert.throws(() => remote.current(), Unavailable);
});

test("the whole request has one deadline", async (t) => {
  const server = await keyServer(t);
  for (const slow of [drip, mute, (connection) => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")]) {
    server.respond = slow;
    const started = performance.now();
    await assert.rejects(fetchBody({ url: server.url, maxBytes: 1000 }, 0.2), (error) => error instanceof FetchError && /no complete response/.test(error.message));
    assert.ok(performance.now() - started < 3000);
  }
});

test("keys are given up a day after the last good answer", async (t) => {
  const { server, clock, remote, verifier, verify } = await remoteWorld(t);
  await remote.prefetch();
  server.respond = failing;
  clock.advance(KEPT - 60);
  await remote.prefetch();
  assert.equal(verifier.verify(A.token()).subject, "ada");
  clock.advance(60);
  await remote.prefetch();
  assert.equal(remote.status().state, "gone");
  await assert.rejects(verify(A.token()), Unavailable);
  server.publish(A.jwk);
  clock.advance(60);
  assert.equal(await subject(verify(A.token())), "ada");
});

test("a slow server delays no token beyond the limit", async (t) => {
  const { server, remote, verifier, verify } = await remoteWorld(t, { fetchTimeout: 200 });
  server.respond = held(keys(A.jwk));
  const started = performance.now();
  const settled = await Promise.allSettled(Array.from({ length: 50 }, () => verify(A.token())));
  const took = performance.now() - started;
  assert.ok(settled.every(({ reason }) => reason instanceof Unavailable));
  assert.ok(took >= 195 && took < 1500, String(took));
  server.respond.release();
  await remote.prefetch();
  assert.equal(verifier.verify(A.token()).subject, "ada");
  assert.equal(server.paths.length, 1);
});

test("10,000 unknown kids cause one fetch for each cooldown", async (t) => {
  const { server, clock, remote, verifier, verify } = await remoteWorld(t);
  await remote.prefetch();
  const forged = B.token().split(".").slice(1).join(".");
  const named = (kid) => `${Buffer.from(JSON.stringify({ alg: "ES256", kid })).toString("base64url")}.${forged}`;
  for (let cooldown = 0; cooldown < 2; cooldown++) {
    for (let count = 0; count < 5000; count++) {
      await assert.rejects(verify(named(`x${cooldown}-${count}`)), (error) => error instanceof UnknownKey || error instanceof Unavailable);
      if (count % 500 === 0) assert.equal(verifier.verify(A.token()).subject, "ada");
    }
    assert.equal(server.paths.length, 2 + cooldown);
    clock.advance(COOLDOWN);
  }
  assert.ok(remote.status().unknown <= 1000);
});

test("a token that came before its key is accepted after the cooldown", async (t) => {
  const { server, clock, remote, verify } = await remoteWorld(t);
  await remote.prefetch();
  await assert.rejects(verify(B.token()), UnknownKey);
  server.publish(A.jwk, B.jwk);
  clock.advance(COOLDOWN - 0.1);
  await assert.rejects(verify(B.token()), UnknownKey);
  clock.advance(0.1);
  assert.equal(await subject(verify(B.token())), "ada");
  assert.equal(server.paths.length, 3);
});

test("an unknown kid is rejected only after an answer without it", async (t) => {
  const { server, clock, remote, verifier, verify } = await remoteWorld(t);
  await remote.prefetch();
  await assert.rejects(verify(B.token({}, { kid: "x" })), UnknownKey);
  assert.throws(() => verifier.verify(B.token({}, { kid: "x" })), UnknownKey);
  await assert.rejects(verify(B.token({}, { kid: "y" })), Unavailable); // the cooldown: nobody knows
  server.publish(A.jwk, B.named("y"));
  clock.advance(COOLDOWN);
  assert.equal(await subject(verify(B.token({}, { kid: "y" }))), "ada");
});

test("a token that would be rejected anyway causes no fetch", async (t) => {
  const { server, remote, verify } = await remoteWorld(t);
  await remote.prefetch();
  for (const claims of [{ aud: "other" }, { iss: "https://other.example" }, { exp: 1 }, { sub: 5 }, { cnf: { jkt: "x" } }]) {
    await assert.rejects(verify(B.token(claims)), UnknownKey);
  }
  await assert.rejects(verify(B.token({}, { kid: "a" })), BadSignature);
  assert.equal(server.paths.length, 1);
});

test("keys without kid can be rotated", async (t) => {
  const unnamed = ({ jwk: { kid: _, ...rest } }) => rest;
  const { server, clock, verify } = await remoteWorld(t, { listed: [unnamed(A)] });
  assert.equal(await subject(verify(A.token({}, { kid: undefined }))), "ada");
  server.publish(unnamed(B));
  assert.equal(await subject(verify(B.token({}, { kid: undefined }))), "ada");
  clock.advance(COOLDOWN);
  for (let count = 0; count < 2; count++) await assert.rejects(verify(A.token({}, { kid: undefined })), BadSignature);
  assert.equal(server.paths.length, 3);
});

const BAD_KEYS = {
  "a secret": { kty: "oct", kid: "bad", k: "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLUhTMjU2IQ" },
  "a private key": { ...B.secret, kid: "bad" },
  "a weak key": { ...RSA.jwk, kid: "bad", n: Buffer.concat([Buffer.alloc(127, 255), Buffer.from([253])]).toString("base64url") },
  "alg none": { ...B.jwk, kid: "bad", alg: "none" },
  "a point off the curve": { ...B.jwk, kid: "bad", x: Buffer.alloc(32, 1).toString("base64url") },
  "no object": "bad",
  "an unknown type": { kty: "AKP", kid: "bad" },
};

for (const [name, bad] of Object.entries(BAD_KEYS)) {
  test(`a bad key is left out and logged once: ${name}`, async (t) => {
    const { server, clock, logs, remote, verifier } = await remoteWorld(t, { listed: [bad, A.jwk] });
    for (let count = 0; count < 3; count++) {
      await remote.prefetch();
      clock.advance(DUE);
    }
    const { kids, refused } = remote.status();
    assert.deepEqual([server.paths.length, kids, refused.length, logs.length], [3, ["a"], 1, 1]);
    assert.match(logs[0], /^left out key/);
    assert.equal(verifier.verify(A.token()).subject, "ada");
    assert.ok(!logs[0].includes(B.secret.d));
  });
}

test("keys for encryption and for other algorithms are left out", async (t) => {
  const { logs, remote } = await remoteWorld(t, { listed: [A.jwk, { ...B.jwk, use: "enc" }, RSA.jwk], algorithms: ["ES256"] });
  await remote.prefetch();
  const { kids, refused } = remote.status();
  assert.deepEqual([kids, refused.map(({ kid }) => kid)], [["a"], ["b", "rsa"]]);
  assert.deepEqual(logs.map((line) => line.split(":").at(-1)), [" it is for RS256, which the verifier does not accept"]);
});

test("two keys under one kid are left out", async (t) => {
  const { remote } = await remoteWorld(t, { listed: [A.jwk, B.named("a"), RSA.named("a"), B.jwk] });
  await remote.prefetch();
  assert.deepEqual(remote.current().keys.map(({ kty }) => kty).sort(), ["EC", "RSA"]); // RSA with kid a has another algorithm
});

test("another key under a known kid is ignored, and logged once", async (t) => {
  const { server, clock, logs, remote, verifier, verify } = await remoteWorld(t);
  await remote.prefetch();
  server.publish(B.named("a"));
  for (let count = 0; count < 2; count++) {
    clock.advance(DUE);
    await remote.prefetch();
  }
  assert.equal(server.paths.length, 3);
  assert.equal(verifier.verify(A.token()).subject, "ada");
  await assert.rejects(verify(B.token({}, { kid: "a" })), BadSignature);
  assert.equal(logs.length, 1);
  assert.match(logs[0], /has another key under the kid "a"; it is ignored/);
});

test("an outage is logged once, and so is its end", async (t) => {
  const { server, clock, logs, remote } = await remoteWorld(t);
  await remote.prefetch();
  server.respond = failing;
  for (let count = 0; count < 5; count++) {
    clock.advance(DUE);
    await remote.prefetch();
  }
  server.publish(A.jwk);
  clock.advance(DUE);
  await remote.prefetch();
  const where = `the keys of ${server.url}/jwks`;
  const outage = `cannot fetch ${where}: status 500; the known keys stay in use for 23.9 h`;
  assert.deepEqual(logs, [outage, `${where} can be fetched again`]);
});

test("key URLs in tokens are never requested", async (t) => {
  const { server, remote, settings } = await remoteWorld(t);
  const attacker = await keyServer(t, B.jwk);
  await remote.prefetch();
  for (const member of ["jku", "x5u"]) {
    const strict = new Verifier(remote, settings);
    const tolerant = new Verifier(remote, { ...settings, tolerateHeader: [member] });
    const header = { kid: "a", [member]: `${attacker.url}/jwks` };
    for (const key of [A, B]) {
      await assert.rejects(verifyWaiting(() => strict.verify(key.token({}, header))), { detail: `header member ${member} is not accepted` });
    }
    assert.equal(await subject(verifyWaiting(() => tolerant.verify(A.token({}, header)))), "ada");
    await assert.rejects(verifyWaiting(() => tolerant.verify(B.token({}, header))), BadSignature);
  }
  assert.deepEqual([attacker.paths.length, server.paths.length], [0, 1]);
});

test("only confidential URLs are accepted", () => {
  const wrong = ["http://sso.example/jwks", "https://ada:pw@sso.example", "https://@sso.example", "file:///etc/passwd", "sso.example", "https://",
    "https://sso.example/#x", "https://sso.example/\n", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "", null, {}];
  for (const url of wrong) {
    for (const make of [Verifier.remote, Verifier.oidc]) assert.throws(() => make(url), { name: "ConfigError", message: /must be an https:\/\/ URL/ }, url);
  }
  for (const url of ["https://sso.example", "http://localhost:1/x", "http://127.3.2.1", "http://[::1]:7/"]) Verifier.remote(url);
});

test("unusable settings are rejected", () => {
  for (const settings of [{ algorithms: ["HS256"] }, { fetchTimeout: 0 }, { fetchTimeout: 10_001 }, { fetchTimeout: "2" }, { issuer: "" }, { preset: "x" }]) {
    assert.throws(() => Verifier.remote("https://sso.example/jwks", settings), ConfigError, JSON.stringify(settings));
  }
  assert.throws(() => Verifier.oidc(`${SSO}/.well-known/openid-configuration`), { message: `the issuer must not be the URL of its discovery document; use '${SSO}'` });
  assert.throws(() => Verifier.oidc(SSO, { issuer: ["sso.example"] }), /issuer must contain/);
  assert.throws(() => Verifier.jwks("https://sso.example/jwks", { algorithms: ["ES256"] }), /use Verifier.remote/);
});

test("a preset chooses the algorithms", () => {
  assert.deepEqual(Verifier.remote("https://sso.example/jwks", { preset: "entra" }).algorithms, ["RS256"]);
  assert.deepEqual(Verifier.remote("https://sso.example/jwks", { preset: "entra", algorithms: ["ES256"] }).algorithms, ["ES256"]);
  assert.ok(!Verifier.oidc(SSO).algorithms.some((name) => name.startsWith("HS")));
});

test("an agent replaces the connections", async (t) => {
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const { server, clock, remote } = await remoteWorld(t, { agent });
  await remote.prefetch();
  clock.advance(DUE);
  await remote.prefetch();
  assert.equal(remote.status().fetches, 2);
  assert.equal(server.paths.length, 2);
});

test("what a log or a clock throws changes nothing", async (t) => {
  let broken = false;
  const clock = () => {
    if (broken) throw new Error("clock");
    return 1;
  };
  const log = () => {
    throw new Error("log");
  };
  const { server, remote } = await remoteWorld(t, { log, clock });
  server.respond = held(failing);
  const fetched = remote.prefetch();
  await server.respond.arrived;
  broken = true;
  server.respond.release();
  await fetched;
  broken = false;
  const second = new RemoteKeySet(server.url, { log: async () => Promise.reject(new Error("log")) });
  server.respond = failing;
  await second.prefetch();
  assert.equal(second.status().lastError, "status 500");
});

test("a fetch keeps no process alive, and a waiting verification does", async (t) => {
  const server = await keyServer(t, A.jwk);
  const run = async (code) => {
    const source = `import { Verifier, verifyWaiting } from "roomkey";
      const verifier = Verifier.remote(process.argv[1], { issuer: "${SSO}", audience: "chat" });
      const verify = () => verifier.verify(process.argv[2]);
      ${code}`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", source, server.url, A.token()], {
      cwd: new URL("..", import.meta.url),
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (data) => (output += data));
    await once(child, "close");
    return output;
  };
  server.respond = mute;
  const started = performance.now();
  assert.equal(await run("try { verify(); } catch (error) { console.log(error.lookup !== null); }"), "true\n");
  assert.ok(performance.now() - started < 8000); // not the deadline of the request
  server.publish(A.jwk);
  assert.equal(await run("console.log((await verifyWaiting(verify)).subject);"), "ada\n");
});

test("keys are found by the issuer's discovery document", async (t) => {
  const server = await keyServer(t, A.jwk);
  server.discover();
  const verifier = Verifier.oidc(server.url, { audience: "chat" });
  const verify = (token) => verifyWaiting(() => verifier.verify(token));
  assert.equal(await subject(verify(A.token({ iss: server.url }))), "ada");
  assert.deepEqual(server.paths, ["/.well-known/openid-configuration", "/jwks"]);
  await assert.rejects(verify(A.token()), { claim: "iss" });
  server.publish(A.jwk, B.jwk);
  await verify(B.token({ iss: server.url }));
  assert.deepEqual(server.paths.slice(2), ["/jwks"]); // only the keys
});

test("a wrong discovery document is discarded", async (t) => {
  for (const members of [
    { issuer: "https://other.example" },
    { issuer: "/" },
    { issuer: null },
    { jwks_uri: "http://sso.example/jwks" },
    { jwks_uri: "file:///etc/passwd" },
    { jwks_uri: null },
  ]) {
    const server = await keyServer(t, A.jwk);
    server.discover(members.issuer === "/" ? { issuer: `${server.url}/` } : members);
    const verifier = Verifier.oidc(server.url, { audience: "chat", log: () => undefined });
    await assert.rejects(verifyWaiting(() => verifier.verify(A.token({ iss: server.url }))), Unavailable);
    assert.equal(server.paths.length, 1);
  }
});

test("an issuer with a slash keeps it", async (t) => {
  const server = await keyServer(t, A.jwk);
  const issuer = `${server.url}/`;
  server.discover({ issuer });
  const verifier = Verifier.oidc(issuer, { audience: "chat" });
  assert.equal(await subject(verifyWaiting(() => verifier.verify(A.token({ iss: issuer })))), "ada");
  assert.equal(server.paths[0], "/.well-known/openid-configuration");
});

test("discovery limits keys without alg, and adds no algorithm", async (t) => {
  const { alg: _, ...unlimited } = RSA.jwk;
  const server = await keyServer(t, unlimited, A.jwk);
  server.discover({ id_token_signing_alg_values_supported: ["none", "HS256", "PS256"] });
  const verify = (options) => {
    const verifier = Verifier.oidc(server.url, { audience: "chat", ...options });
    return verifyWaiting(() => verifier.verify(RSA.token({ iss: server.url })));
  };
  await assert.rejects(verify({}), { message: "invalid algorithm" });
  assert.equal(await subject(verify({ algorithms: ["RS256"] })), "ada");
});

test("several spellings of iss can be accepted", async (t) => {
  const server = await keyServer(t, A.jwk);
  server.discover();
  const verifier = Verifier.oidc(server.url, { audience: "chat", issuer: [server.url, "sso.example"] });
  assert.equal(await subject(verifyWaiting(() => verifier.verify(A.token({ iss: "sso.example" })))), "ada");
  await assert.rejects(verifyWaiting(() => verifier.verify(A.token())), UnknownKey);
});

test("anyOf asks the other server about its own tokens only", async (t) => {
  const server = await keyServer(t, A.jwk);
  const ours = Verifier.hs256("tests-1f0e2d3c4b5a69788796a5b4c3d2e1f0-only", { issuer: "https://login.example", audience: "chat" });
  const both = Verifier.anyOf(ours, Verifier.remote(server.url, { issuer: SSO, audience: "chat" }));
  await assert.rejects(verifyWaiting(() => both.verify(A.token({ iss: "https://login.example" }))), { message: "invalid algorithm" });
  assert.equal(server.paths.length, 0);
  assert.equal(await subject(verifyWaiting(() => both.verify(A.token()))), "ada");
});
