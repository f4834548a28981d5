// Verifiers of written settings, and verdicts as the vectors write them.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { Key, KeySet, Verifier, AuthError, ConfigError } from "roomkey";

const require = createRequire(import.meta.url);
export const inside = (name) => require(`../../dist/core/${name}.js`); // what the package does not export
const folder = new URL("../../../../vectors/", import.meta.url);
export const read = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));

const HMAC = { HS256: Verifier.hs256, HS384: Verifier.hs384, HS512: Verifier.hs512 };
const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

export function verifierOf({ keys, any_of: several, ...written }) {
  if (several) return Verifier.anyOf(...several.map((settings) => verifierOf(settings)));
  const options = Object.fromEntries(Object.entries(written).map(([name, value]) => [camel(name), value]));
  if ("secret" in keys) {
    const { secret, algorithm = "HS256", kid, previous, insecure_short_secret: insecureShortSecret } = keys;
    return HMAC[algorithm](secret, { kid, previous, insecureShortSecret, ...options });
  }
  if ("pem" in keys) return Verifier.pem(keys.pem, { kid: keys.kid, ...options });
  const keySet = (jwks) =>
    keys.strict
      ? new KeySet(jwks.keys.map((jwk) => Key.fromJwk(jwk)))
      : KeySet.fromJwks(jwks, { allowSymmetric: keys.allow_symmetric ?? false });
  if ("issuers" in keys) {
    return new Verifier(new Map(Object.entries(keys.issuers).map(([issuer, jwks]) => [issuer, keySet(jwks)])), options);
  }
  return new Verifier(keySet(keys.jwks), options);
}

export const tokenOf = ({ token, token_repeated: repeated }) => (repeated ? repeated.text.repeat(repeated.times) : token);
const byCodePoint = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));

function told(who) {
  return {
    subject: who.subject,
    issuer: who.issuer,
    roles: [...who.roles].sort(byCodePoint),
    scopes: [...who.scopes].sort(byCodePoint),
    rooms: [...who.rooms].sort(byCodePoint),
    expires_at: who.expiresAt,
    issued_at: who.issuedAt,
    token_id: who.tokenId,
    session_id: who.sessionId,
    claims: who.claims,
  };
}

/** A verdict, or whatever else the function throws. */
export function verdict(decide) {
  try {
    return decide();
  } catch (error) {
    if (error instanceof AuthError) return { rejected: error.toClient() };
    throw error;
  }
}

export const tokenVerdict = (verifier, token, now) => verdict(() => ({ accepted: told(verifier.verify(token, now)) }));

export function configVerdict(settings) {
  try {
    verifierOf(settings);
  } catch (error) {
    if (error instanceof ConfigError) return "config_error";
    throw error;
  }
  return "valid";
}

export function keySetVerdict(jwks) {
  try {
    const loaded = KeySet.fromJwks(jwks);
    const keys = loaded.keys.map((key) => [key.kid, [...key.algorithms].sort()]);
    return { keys: keys.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)), left_out: loaded.refused.length };
  } catch (error) {
    if (error instanceof ConfigError) return { config_error: true };
    throw error;
  }
}
