// The vectors that verifiers of every language run (vectors/README.md).
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "roomkey";
import { configVerdict, inside, keySetVerdict, read, tokenOf, tokenVerdict, verdict, verifierOf } from "./support/vectors.mjs";

const { fromEvent, fromHandshake, checkSources } = inside("credentials");
const { grantedActions, isGranted } = inside("grants");
const { DPoP, checkBinding, checkProof, normalUrl } = inside("dpop");
const proofSettingsOf = ({ nonce_secret: nonceSecret, max_proofs: maxProofs, ...more }) => new DPoP({ nonceSecret, maxProofs, ...more });
const accepted = ({ key, id, issuedAt }) => ({ accepted: { key, id, issued_at: issuedAt } });
const plain = (value) => JSON.parse(JSON.stringify(value));
const only = (vector, ...names) => Object.fromEntries(names.filter((name) => name in vector).map((name) => [name, vector[name]]));

test("tokens get the verdicts of the vectors", () => {
  const { now, verifiers, vectors } = read("tokens");
  const made = Object.fromEntries(Object.entries(verifiers).map(([name, settings]) => [name, verifierOf(settings)]));
  for (const vector of vectors) {
    const found = tokenVerdict(made[vector.verifier], tokenOf(vector), vector.now ?? now);
    assert.deepEqual(plain(found), only(vector, "accepted", "rejected"), vector.name);
  }
  assert.ok(vectors.length >= 300);
});

test("settings are valid or fail", () => {
  for (const vector of read("settings").vectors) assert.equal(configVerdict(vector.settings), vector.verdict, vector.name);
});

test("key sets use the keys of the vectors", () => {
  for (const vector of read("key_sets").vectors) {
    assert.deepEqual(keySetVerdict(vector.jwks), only(vector, "keys", "left_out", "config_error"), vector.name);
  }
});

test("presented tokens are found", () => {
  for (const vector of read("credentials").vectors) {
    const find = () =>
      "event" in vector ? fromEvent(vector.event) : fromHandshake(checkSources(vector.sources), vector.auth, vector.request ?? {});
    assert.deepEqual(plain(verdict(() => ({ found: find() }))), only(vector, "found", "rejected"), vector.name);
  }
});

test("presets stand for the same settings", () => {
  const { PRESETS } = inside("presets");
  const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const written = [...PRESETS].map(([name, preset]) => [
    name,
    Object.fromEntries(Object.entries(preset).map(([setting, value]) => [snake(setting), value])),
  ]);
  assert.deepEqual(Object.fromEntries(written), read("presets").presets);
});

test("proofs get the verdicts of the vectors", () => {
  const { now, token, settings, vectors, bindings, urls, setting_verdicts: verdicts } = read("proofs");
  const made = Object.fromEntries(Object.entries(settings).map(([name, written]) => [name, proofSettingsOf(written)]));
  for (const vector of vectors) {
    const found = verdict(() => accepted(checkProof(made[vector.settings], vector.proof, vector.token ?? token, vector.now ?? now)));
    assert.deepEqual(plain(found), only(vector, "accepted", "rejected"), vector.name);
  }
  for (const { name, claims, proved_key: key, ...expected } of bindings) {
    const found = verdict(() => {
      checkBinding(claims, key);
      return { accepted: true };
    });
    assert.deepEqual(plain(found), expected, name);
  }
  for (const { name, settings: written, verdict: expected } of verdicts) {
    const make = () => proofSettingsOf(written);
    if (expected === "valid") make();
    else assert.throws(make, ConfigError, name);
  }
  for (const { url, normal } of urls) assert.equal(normalUrl(url), normal, url);
});

test("grants are read as in the vectors", () => {
  for (const vector of read("grants").vectors) {
    assert.equal(isGranted(grantedActions(vector.rooms), vector.room, vector.event), vector.granted, vector.name);
  }
});
