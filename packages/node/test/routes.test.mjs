// Routes of the same application, in Express and Fastify.
import assert from "node:assert/strict";
import { test } from "node:test";
import express from "express";
import fastify from "fastify";
import { expired, token, world } from "./support/world.mjs";

/** An application with one route that tells who asks; returns its address. */
const FRAMEWORKS = {
  express: async (t, roomkey) => {
    const app = express();
    app.get("/me", async (request, response) => response.json({ subject: (await roomkey.verifyRequest(request)).subject }));
    const server = await new Promise((resolve) => {
      const listening = app.listen(0, "127.0.0.1", () => resolve(listening));
    });
    t.after(() => server.close());
    return `http://127.0.0.1:${server.address().port}`;
  },
  fastify: async (t, roomkey) => {
    const app = fastify();
    app.get("/me", async (request) => ({ subject: (await roomkey.verifyRequest(request)).subject }));
    t.after(() => app.close());
    return app.listen({ port: 0, host: "127.0.0.1" });
  },
};

for (const [name, listen] of Object.entries(FRAMEWORKS)) {
  test(`a route of ${name} knows who asks`, async (t) => {
    const made = await world(t);
    const url = await listen(t, made.roomkey);
    const ask = (presented) => fetch(`${url}/me`, { headers: presented ? { Authorization: `Bearer ${presented}` } : {} });
    const good = token("ada", { jti: "route" });
    const answer = await ask(good);
    assert.deepEqual([answer.status, await answer.json()], [200, { subject: "ada" }]);
    const nobody = await ask();
    assert.deepEqual([nobody.status, nobody.headers.get("www-authenticate")], [401, 'Bearer realm="roomkey"']);
    await made.roomkey.revoke({ tokenId: "route" });
    for (const bad of ["x", expired(), good]) {
      const refused = await ask(bad);
      assert.equal(refused.status, 401);
      assert.equal(refused.headers.get("www-authenticate"), 'Bearer realm="roomkey", error="invalid_token"');
    }
  });
}
