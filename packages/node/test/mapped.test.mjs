// Rights and sessions in other claims than the registered ones, on connected sockets.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Policy, Verifier, grants, guard, hasRole, roomsClaim } from "roomkey";
import { SECRET, ask, event, token, until, world } from "./support/world.mjs";

const verifier = Verifier.hs256(SECRET, { preset: "keycloak", audience: "chat", claimsMap: { rooms: "chat.rooms" } });
const claims = (rooms, more = {}) => ({
  typ: "Bearer",
  sid: "s-1",
  chat: { rooms },
  realm_access: { roles: ["staff"] },
  rooms: ["root"], // these do not count
  roles: ["admin"],
  ...more,
});

test("rights and session in other claims apply to sockets", async (t) => {
  const policy = new Policy();
  policy.room("*", roomsClaim);
  policy.room("staff", (who) => hasRole(who, "staff"));
  const make = (io, options) => guard(io, verifier, options);
  const made = await world(t, { make, policy, prepare: (io, roomkey) => roomkey.serveRooms() });
  const identified = made.client({ token: token("ada", claims(["red"], { typ: "ID" })) });
  await event(identified, "connect_error");
  const ada = await made.member("ada", claims(["red", "blue"]));
  for (const [room, allowed] of [["red", true], ["blue", true], ["staff", true], ["root", false]]) {
    assert.equal((await ask(ada, "join-room", room)).ok, allowed, room);
  }
  const rooms = () => [...made.io.sockets.sockets.get(ada.id).rooms].filter((room) => room !== ada.id).sort();
  await made.roomkey.update("ada", { roles: [] }); // the rooms stay those of the token
  await until(() => !rooms().includes("staff"));
  assert.deepEqual(rooms(), ["blue", "red", "user:ada"]);
  const renewal = { token: token("ada", claims(["red"], { exp: Math.floor(Date.now() / 1000) + 900 })) };
  await ask(ada, "authenticate", renewal);
  await until(() => !rooms().includes("blue"));
  assert.deepEqual(rooms(), ["red", "user:ada"]);
  assert.equal(await made.roomkey.revoke({ sessionId: "s-1" }), 1);
});

test("an identity with rooms in another claim can travel as JSON", () => {
  const here = verifier.verify(token("ada", claims({ "team-*": ["join"] })));
  for (const who of [here, JSON.parse(JSON.stringify(here))]) {
    assert.equal(grants(who, "team-red"), true);
    assert.equal(grants(who, "team-red", "say"), false);
    assert.equal(grants(who, "root"), false);
    assert.deepEqual(who.rooms, ["team-*"]);
  }
  const none = JSON.parse(JSON.stringify(verifier.verify(token("ada", claims("red")))));
  assert.equal(grants(none, "root"), false);
  assert.equal(grants(none, "red"), false);
});
