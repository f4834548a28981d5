// The wire contract is the same in both languages (vectors/contract.json).
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import * as roomkey from "roomkey";
import { inside, read } from "./support/vectors.mjs";

const { errors, server_events: serverEvents, client_events: clientEvents } = read("contract");
const contract = createRequire(import.meta.url)("../dist/guard/contract.js");

test("each error has the code, the reason and the text of Python's", () => {
  for (const { name, code, reason, retry, message } of errors) {
    const kind = roomkey[name];
    assert.ok(kind, name);
    assert.deepEqual([kind.code, kind.reason, kind.retry], [code, reason, retry], name);
    if (!message.includes("…")) assert.equal(kind.text, message, name);
  }
  const known = new Set(errors.map((error) => error.name));
  const ours = Object.keys(roomkey).filter((name) => roomkey[name].prototype instanceof roomkey.AuthError);
  assert.deepEqual(ours.filter((name) => !known.has(name)), ["CredentialsBadFormat", "MissingAuthorizationHeader"]);
  assert.deepEqual(new roomkey.ClaimError("exp").toClient(), {
    message: "invalid exp value", code: "invalid_token", type: "UnauthorizedError", reason: "claim", claim: "exp",
  });
});

test("the events have the names and the members of Python's", () => {
  const { AUTHENTICATE } = inside("names");
  const named = ["AUTHENTICATED", "UNAUTHORIZED", "TOKEN_EXPIRING", "PERMISSIONS_CHANGED", "REAUTHENTICATE", "ERROR"];
  assert.deepEqual(named.map((name) => contract[name]).sort(), Object.keys(serverEvents).sort());
  assert.deepEqual([AUTHENTICATE, contract.JOIN_ROOM, contract.LEAVE_ROOM].sort(), clientEvents);
  assert.deepEqual(Object.keys(contract.unauthorized(new roomkey.RevokedToken())), serverEvents.unauthorized);
});
