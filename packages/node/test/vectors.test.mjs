// The vectors that verifiers of every language run (vectors/README.md).
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, Key, KeySet } from "roomkey";
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

test("sources of tokens are valid or fail", () => {
  for (const { sources, verdict: expected } of read("credentials").sources) {
    let found = "valid";
    try {
      checkSources(sources);
    } catch (error) {
      found = error.name === "ConfigError" ? "config_error" : String(error);
    }
    assert.equal(found, expected, JSON.stringify(sources));
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

/** Return the steps of a scenario about the keys of another server with what comes out of each. */
function replay(steps, known) {
  const { RemoteState } = inside("../keysets/remote_state");
  const state = new RemoteState();
  const names = new Map(Object.entries(known).map(([name, jwk]) => [Key.fromJwk(jwk).thumbprint, name]));
  const listed = (keys) => keys.map((key) => [key.kid, names.get(key.thumbprint)]).sort();
  const outcome = (at, step) => {
    if ("look_up" in step) return { next: state.lookUp(step.look_up, at) };
    if ("start" in step) return { number: state.start(at) };
    if ("fail" in step) {
      state.fail(at);
      return { failures: state.failures };
    }
    const answer = new KeySet(step.succeed.map(([kid, name]) => Key.fromJwk({ ...known[name], kid })));
    return { exchanged: [...state.succeed(answer, at).exchanged].sort() };
  };
  return steps.map((step) => {
    const seen = outcome(step.at, step);
    const keys = state.usable(step.at);
    return { ...step, ...seen, keys: keys && listed(keys.keys), due: state.isDue(step.at), fetching: state.isFetching(step.at) };
  });
}

test("keys of another server take the steps of the vectors", () => {
  const { private: known } = read("keys");
  const { states } = read("remote_keys");
  for (const { name, steps } of states) assert.deepEqual(replay(steps, known), steps, name);
  assert.ok(states.length >= 25);
});

test("answers of another server are read as in the vectors", () => {
  const { AnswerError, parseDiscovery, parseKeySet } = inside("../keysets/remote_answers");
  const { ASYMMETRIC } = inside("algorithms");
  const parsed = (parse) => {
    try {
      return parse();
    } catch (error) {
      if (error instanceof AnswerError) return { discarded: true };
      throw error;
    }
  };
  const { key_sets: keySets, discovery } = read("remote_keys");
  for (const { name, body, algorithms = ASYMMETRIC, offered = null, ...expected } of keySets) {
    const told = ({ keys, refused }) => ({ keys: keys.map((key) => [key.kid, key.algorithms]).sort(), left_out: refused.length });
    assert.deepEqual(parsed(() => told(parseKeySet(Buffer.from(body), algorithms, offered))), expected, name);
  }
  for (const { name, issuer, body, ...expected } of discovery) {
    const told = ({ jwksUri, algorithms }) => ({ jwks_uri: jwksUri, offered: algorithms });
    assert.deepEqual(parsed(() => told(parseDiscovery(Buffer.from(body), issuer))), expected, name);
  }
});

test("entries of a journal in Redis are accepted or dropped", () => {
  const { EntryFormat } = inside("journal_entries");
  const { key, secrets, longest, vectors } = read("journal");
  const format = new EntryFormat(secrets, key);
  for (const vector of vectors) {
    const found = format.check(new Map(Object.entries(vector.fields)));
    const verdict = typeof found === "string" ? { dropped: found } : { accepted: found };
    assert.deepEqual(plain(verdict), only(vector, "accepted", "dropped"), vector.name);
  }
  assert.equal(format.check(new Map([["e", " ".repeat(longest + 1)], ["m", "x"]])), "too large");
});
