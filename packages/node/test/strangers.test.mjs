// What strangers send: it costs them a connection, and the server next to nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { world } from "./support/world.mjs";

test("a header of spaces or quotes costs no time", async (t) => {
  const made = await world(t, { sources: { cookie: "token", query: "token" }, origins: ["https://chat.example"] });
  const length = 64_000;
  const origin = "https://chat.example";
  const requests = {
    "spaces in a scheme": { headers: { authorization: `a${" ".repeat(length)}b` } },
    "tabs after a scheme": { headers: { authorization: `Bearer\t${"\t".repeat(length)}b` } },
    "spaces in a cookie": { headers: { origin, cookie: `token=a${" ".repeat(length)}b` } },
    "spaces in a cookie's name": { headers: { origin, cookie: `a${" ".repeat(length)}b=c` } },
    "quotes in a cookie": { headers: { origin, cookie: `token=a${'"'.repeat(length)}b` } },
    "one parameter again and again": { headers: {}, url: `/?${"token=a&".repeat(length / 8)}` },
  };
  for (const [name, request] of Object.entries(requests)) {
    const begun = performance.now();
    await assert.rejects(made.roomkey.verifyRequest(request), { status: 401 }, name);
    assert.ok(performance.now() - begun < 500, name); // quadratic, it takes 4 seconds
  }
});
