// Answers each line of JSON, {settings, token, now}, with this verifier's verdict: for comparison with another language's.
import { createInterface } from "node:readline";
import { configVerdict, tokenVerdict, verifierOf } from "./vectors.mjs";

const known = new Map();

function answer({ settings, token, now }) {
  const key = JSON.stringify(settings);
  if (!known.has(key)) known.set(key, configVerdict(settings) === "valid" ? verifierOf(settings) : null);
  const verifier = known.get(key);
  return verifier ? tokenVerdict(verifier, token, now) : { config_error: true };
}

for await (const line of createInterface({ input: process.stdin })) {
  let told;
  try {
    told = answer(JSON.parse(line));
  } catch (error) {
    told = { failed: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
