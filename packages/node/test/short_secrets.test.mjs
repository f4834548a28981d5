// Short secrets: only by an option that says so, and with a warning. The vectors have the verdicts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Verifier, guard } from "roomkey";
import { Server } from "socket.io";

const LONG = "vectors-1f0e2d3c4b5a69788796a5b4c3d2e1f0";
const warned = (verifier) => {
  const lines = [];
  for (let round = 0; round < 2; round++) guard(new Server(), verifier, { log: (line) => lines.push(line) });
  return lines;
};

test("a guard logs a short secret once, and without the secret", () => {
  const short = Verifier.hs256("tr0ub4dor&3", { insecureShortSecret: true });
  const [line, ...more] = warned(short);
  assert.match(line, /^insecure: the secret has 11 bytes: .* at least 32 bytes \(RFC 7518 section 3.2\)$/);
  assert.deepEqual(more, []);
  assert.doesNotMatch(line, /tr0ub4dor/);
});

test("a guard logs a short previous secret, also of one of several verifiers", () => {
  const previous = ["tr0ub4dor&3!", Date.now() / 1000 + 60];
  const old = Verifier.hs384(LONG + LONG, { issuer: "old", previous, insecureShortSecret: true });
  const [line] = warned(Verifier.anyOf(old, Verifier.hs256(LONG, { issuer: "new" })));
  assert.match(line, /^insecure: the previous secret has 12 bytes: .* at least 48 bytes/);
});

test("a guard does not log a long secret", () => {
  assert.deepEqual(warned(Verifier.hs256(LONG, { insecureShortSecret: true })), []);
  assert.deepEqual(Verifier.hs256(LONG).warnings, []);
});
