// The examples about tokens of other servers in docs/node.md.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { RemoteKeySet, Verifier, guard, verifyWaiting } from "roomkey";
import { keyPair, keyServer } from "./support/key_server.mjs";
import { SECRET, event, until, world } from "./support/world.mjs";

const PAGE = readFileSync(new URL("../../../docs/node.md", import.meta.url), "utf8");
const ISSUER = "https://sso.example/realms/main";

/** The JavaScript of a section. */
function codeOf(heading) {
  const section = PAGE.split(`\n## ${heading}\n`)[1].split("\n## ")[0];
  return [...section.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code).join("\n");
}

test("the examples about tokens of other servers run", async (t) => {
  const key = keyPair("a");
  const server = await keyServer(t, key.jwk);
  server.discover();
  const code = codeOf("Tokens of other servers").replaceAll(ISSUER, server.url).replaceAll("https://login.example/.well-known", server.url);
  const token = key.token({ iss: server.url, typ: "Bearer", realm_access: { roles: ["admin"] } });
  const names = ["io", "guard", "Verifier", "RemoteKeySet", "verifyWaiting", "process", "token"];
  const run = new (Object.getPrototypeOf(async () => undefined).constructor)(...names, `${code}; return { roomkey, ours, both, opaque, who, checked, state, kids };`);
  let ran;
  const env = { ROOMKEY_SECRET: SECRET, SSO_SECRET: "tests-only" };
  const made = await world(t, {
    make: (io) => {
      ran = run(io, guard, Verifier, RemoteKeySet, verifyWaiting, { env }, token);
      return { close: () => ran.then(({ roomkey }) => roomkey.close()) };
    },
  });
  const { roomkey, ours, both, who, checked, state, kids } = await ran;
  assert.deepEqual([who.subject, who.roles, state, kids], ["ada", ["admin"], "fresh", ["a"]]);
  for (const verifier of [ours, checked]) {
    assert.equal((await verifyWaiting(() => verifier.verify(key.token({ iss: "https://login.example" })))).subject, "ada");
  }
  assert.equal((await verifyWaiting(() => both.verify(token))).subject, "sso:ada");
  const client = made.client({ token });
  await event(client, "connect");
  await until(() => roomkey.sockets("ada").length === 1);
});
