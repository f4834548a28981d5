// A polling session belongs to the client that opened it: its ID alone opens nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { VERSIONS, event, token, world } from "./support/world.mjs";
import WebSocket from "ws";

const bearer = (presented) => (presented ? { Authorization: `Bearer ${presented}` } : {});

/** Open a polling session, with a token in its header or its query. */
async function open(made, headers, query = "") {
  const url = `${made.url}/socket.io/?EIO=4&transport=polling${query}`;
  const text = await (await fetch(url, { headers })).text();
  const session = `${url}&sid=${JSON.parse(text.slice(1)).sid}`;
  const send = async (body, own = headers) => (await fetch(session, { method: "POST", body, headers: own })).status;
  const poll = async (own = headers) => {
    const response = await fetch(session, { headers: own });
    return [response.status, await response.text()];
  };
  return { session, send, poll };
}

for (const version of VERSIONS) {
  test(`requests of another client are refused, and the owner's session goes on: ${version}`, async (t) => {
    const made = await world(t, { version, sources: { query: "token" } });
    const refused = version === "socket.io-4.0" ? 400 : 403;
    const reported = [];
    made.roomkey.onRefused((error) => reported.push(error.detail));
    const good = token("ada");
    const { session, send, poll } = await open(made, bearer(good));
    assert.equal(await send("40", {}), 200); // some clients send their headers once
    assert.match((await poll())[1], /^40/);
    assert.equal(await send("42[\"x\"]", {}), refused); // this one repeats them
    for (const other of [token("eve"), "bad", `${good}x`, token("ada", { aud: "other" })]) {
      assert.equal(await send('42["x"]', bearer(other)), refused, other);
      assert.equal((await poll(bearer(other)))[0], refused, other);
    }
    const upgrade = new WebSocket(session.replace("http", "ws").replace("polling", "websocket"), { headers: bearer(token("eve")) });
    await new Promise((resolve) => upgrade.on("error", resolve));
    assert.equal(await send("42[\"x\"]", bearer(token("ada"))), 200); // a renewed token of the same subject
    assert.equal(reported.length, 10);
    assert.equal(new Set(reported).size, 1);
    assert.equal(made.roomkey.sockets("ada").length, 1);
    await send("1", bearer(good)); // Engine.IO's CLOSE
  });

  test(`a token in the query binds every request: ${version}`, async (t) => {
    const made = await world(t, { version, sources: { query: "token" } });
    const { session } = await open(made, {}, `&token=${token("ada")}`);
    const bare = session.replace(/&token=[^&]*/, "");
    assert.ok((await fetch(bare)).status >= 400);
    const status = async (url) => (await fetch(url, { method: "POST", body: "40" })).status;
    assert.ok((await status(bare)) >= 400);
    assert.equal(await status(session), 200);
    await fetch(session, { method: "POST", body: "1" });
  });

  test(`clients that repeat their token are served over every transport: ${version}`, async (t) => {
    const made = await world(t, { version });
    for (const transports of [["polling"], ["polling", "websocket"]]) {
      const client = made.client(undefined, { transports, extraHeaders: bearer(token("ada")) });
      await event(client, "connect");
    }
  });
}

test("a session without a token in its first request is not bound", async (t) => {
  const made = await world(t);
  const { send, poll } = await open(made, {});
  assert.equal(await send(`40{"token":"${token("ada")}"}`), 200);
  assert.match((await poll())[1], /^40/);
  assert.equal(await send('42["x"]', bearer(token("eve"))), 200);
  await send("1");
});
