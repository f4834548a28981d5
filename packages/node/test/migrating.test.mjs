// The code in docs/migrating.md, with the clients of the libraries before.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Verifier, guard } from "roomkey";
import { SECRET, event, token, until, world } from "./support/world.mjs";

const PAGE = readFileSync(new URL("../../../docs/migrating.md", import.meta.url), "utf8");

/** A server with the JavaScript after the migration, of one section. */
function migrated(t, heading, names) {
  const section = PAGE.split(`\n## ${heading}\n`)[1].split("\n## ")[0];
  const [, code] = section.match(/```js\n(.*?)```/s);
  const given = { Verifier, process: { env: { JWT_SECRET: SECRET } }, ...names };
  const make = (io) => {
    let made;
    const kept = (...args) => (made = guard(...args));
    new Function("io", "guard", ...Object.keys(given), code.replace(/^import .*$/gm, ""))(io, kept, ...Object.values(given));
    return made;
  };
  return world(t, { make });
}
const payload = { sub: undefined, aud: undefined, id: 7 };

test("clients of socketio-jwt connect as before", async (t) => {
  const made = await migrated(t, "socketio-jwt", {});
  const asked = made.client();
  await event(asked, "connect");
  asked.emit("authenticate", { token: token(undefined, payload) });
  await event(asked, "authenticated");
  const named = made.client(undefined, { query: { token: token(undefined, payload) } });
  await event(named, "connect");
  await until(() => made.io.sockets.adapter.rooms.get("user 7")?.size === 2);
  const wrong = made.client();
  await event(wrong, "connect");
  wrong.emit("authenticate", { token: `${token(undefined, payload).slice(0, -4)}AAAA` });
  const [error] = await event(wrong, "unauthorized");
  assert.equal(error.data.type, "UnauthorizedError");
  assert.equal(error.data.code, "invalid_token");
  assert.deepEqual(error.inner, { message: "invalid signature" });
});

test("clients of @thream/socketio-jwt connect as before", async (t) => {
  const printed = [];
  const console = { log: (...args) => printed.push(args) };
  const users = { find: async (id) => (id === 7 ? { name: "Ada" } : undefined) };
  const made = await migrated(t, "@thream/socketio-jwt", { console, users });
  await event(made.client({ token: `Bearer ${token(undefined, payload)}` }), "connect");
  await until(() => printed.length === 1);
  assert.deepEqual([printed[0][0], printed[0][1].id], ["Ada", 7]);
  const [message, data] = await event(made.client({ token: "Bearer a.b.c" }), "connect_error");
  assert.deepEqual([message, data.type], ["invalid token", "UnauthorizedError"]);
  await event(made.client({ token: `Bearer ${token(undefined, { ...payload, id: 8 })}` }), "connect_error");
  assert.equal(printed.length, 1);
});
