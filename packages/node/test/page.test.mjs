// The code of docs/node.md and of the package's README runs as it is written.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { test } from "node:test";
import * as redis from "redis";
import ioc from "socket.io-client";
import * as roomkeyPackage from "roomkey";
import { SECRET, token } from "./support/world.mjs";

const { Server } = createRequire(import.meta.url)("socket.io");
const MODULES = { "node:http": { createServer }, "socket.io": { Server }, redis, roomkey: roomkeyPackage };
const AsyncFunction = (async () => undefined).constructor;
process.env.ROOMKEY_SECRET = SECRET;
process.env.JOURNAL_SECRET = "a client's secret";
process.env.CLUSTER_SECRET = SECRET;
process.env.REDIS_URL = "redis://127.0.0.1:1"; // where none is

/** The blocks of JavaScript of a page; docs.test.mjs runs those about tokens of other servers. */
function blocks(path) {
  const text = readFileSync(new URL(path, import.meta.url), "utf8").replace(/^## Tokens of other servers\n[^]*?^## /m, "## ");
  return [...text.matchAll(/^```js\n([^]*?)^```$/gm)].map(([, code]) => code);
}

/** Run a block with what other blocks have made; returns what it makes itself. */
async function run(code, scope = {}) {
  const imported = {};
  const body = code.replace(/^import \{([^}]*)\} from "([^"]+)";$/gm, (_, names, from) => {
    for (const name of names.split(",").map((one) => one.trim())) {
      assert.ok(name in MODULES[from], `${from} has ${name}`);
      imported[name] = MODULES[from][name];
    }
    return "";
  });
  const made = [...body.matchAll(/^const (\w+) =/gm)].map(([, name]) => name);
  const given = Object.entries({ ...scope, ...imported }).filter(([name]) => !made.includes(name));
  const call = new AsyncFunction(...given.map(([name]) => name), `"use strict";${body}\nreturn { ${made.join(", ")} };`);
  return call(...given.map(([, value]) => value));
}

/** Start the server of a block, on a free port. */
async function serve(t, code) {
  const started = await run(code.replace("http.listen(8000", "http.listen(0").replace("console.log", "welcomed"), { welcomed: () => undefined });
  t.after(() => {
    started.roomkey.close();
    return new Promise((resolve) => started.io.close(resolve));
  });
  await once(started.http, "listening");
  return { ...started, url: `http://127.0.0.1:${started.http.address().port}` };
}

function connect(t, url, options) {
  const client = ioc(url, { forceNew: true, reconnection: false, ...options });
  t.after(() => client.close());
  return client;
}

const isFor = (word) => (code) => code.includes(word);
const page = blocks("../../../docs/node.md");
const [server] = page;

for (const path of ["../../../docs/node.md", "../README.md"]) {
  test(`the first server of ${path.split("/").at(-1)} admits a client and serves its rooms`, async (t) => {
    const { url } = await serve(t, blocks(path)[0]);
    const client = connect(t, url, { auth: { token: token("ada", { rooms: ["red"] }) } });
    await new Promise((resolve) => client.on("connect", resolve));
    assert.deepEqual(await client.emitWithAck("join-room", "red"), { ok: true });
    assert.equal((await client.emitWithAck("join-room", "blue")).ok, false);
  });
}

test("both recipes of older libraries work unchanged with a server of 20 lines", async (t) => {
  const both = page.find(isFor('sources: { query: "token" }'));
  const code = server.replace(/^const roomkey = guard\(.*\n/m, both);
  assert.ok(code.trim().split("\n").length <= 22 && code.split("\n").filter((line) => line.trim()).length <= 20);
  const { url, roomkey } = await serve(t, code);
  const byQuery = connect(t, url, { query: `token=${token("ada")}` });
  await new Promise((resolve) => byQuery.on("connect", resolve));
  const later = connect(t, url);
  await new Promise((resolve, reject) => {
    later.on("connect", () => {
      later
        .emit("authenticate", { token: token("bob") })
        .on("authenticated", resolve)
        .on("unauthorized", (error) => reject(new Error(error.data.message)));
    });
  });
  assert.deepEqual(roomkey.sockets().map((socket) => socket.identity.subject).sort(), ["ada", "bob"]);
});

test("every other block runs, too", async (t) => {
  const others = page.slice(1);
  assert.ok(others.length >= 6);
  for (const code of others) {
    const started = await serve(t, server);
    const { verifier } = started;
    const io = new Server(); // some blocks make a guard of their own
    const app = { get: (path, handler) => assert.equal(typeof handler, "function", path) };
    const made = await run(code, { ...started, verifier, app, ...(code.includes("guard(io") ? { io, guard: roomkeyPackage.guard } : {}) });
    if (made.roomkey && made.roomkey !== started.roomkey) made.roomkey.close();
  }
});
