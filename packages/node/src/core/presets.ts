/**
 * Settings for the tokens of common issuers, by name: `preset: "keycloak"`.
 *
 * The rows are those of `roomkey.core.presets` in Python, which names the documentation of each issuer. Settings that you
 * pass yourself win over them, one by one in `claims` and `claimsMap`.
 */

import { ConfigError } from "../errors.js";
import { type ExactClaims } from "./claims.js";
import { type ClaimsMapOption } from "./claims_map.js";
import { printable } from "./printable.js";
import { isObject } from "./strict_json.js";

/** The settings of a verifier that depend on the issuer. */
export interface Preset {
  readonly algorithms?: readonly string[];
  readonly audience?: string | readonly string[] | null | undefined;
  readonly require?: string | readonly string[] | undefined;
  readonly claims?: ExactClaims | undefined;
  readonly claimsMap?: ClaimsMapOption | null | undefined;
  readonly integerSubject?: boolean | undefined;
}

const RSA = ["RS256"];
const ASYMMETRIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

export const PRESETS: ReadonlyMap<string, Preset> = new Map<string, Preset>(
  Object.entries({
    keycloak: { algorithms: ASYMMETRIC, claims: { typ: ["Bearer", "DPoP"] }, claimsMap: { roles: "realm_access.roles" } },
    auth0: { algorithms: ["RS256", "PS256"] },
    entra: { algorithms: RSA, require: ["exp", "sub", "scope"], claimsMap: { scopes: "scp" } },
    cognito: {
      algorithms: RSA,
      claims: { token_use: "access" },
      claimsMap: { audience: "client_id", roles: "cognito:groups", session: "origin_jti" },
    },
    firebase: { algorithms: RSA, require: ["exp", "sub", "iat", "auth_time"] },
    supabase: {
      algorithms: ["ES256", "RS256", "EdDSA"],
      audience: "authenticated",
      claims: { role: "authenticated" },
      claimsMap: { roles: "app_metadata.roles", role: "user_role", session: "session_id" },
    },
    clerk: {
      algorithms: RSA,
      require: ["exp", "sub", "sid"],
      claims: { sts: ["active", null] },
      claimsMap: { audience: "azp", role: "o.rol" },
    },
    google: { algorithms: RSA },
    authentik: {
      algorithms: ["RS256", "ES256", "ES384", "ES512"],
      require: ["exp", "sub", "uid"],
      claimsMap: { roles: "groups" },
    },
    "flask-jwt-extended": { claims: { type: "access" }, integerSubject: true },
    simplejwt: { claims: { token_type: "access" }, claimsMap: { subject: "user_id" }, integerSubject: true },
    "fastapi-users": { audience: "fastapi-users:auth" },
  }),
);

/**
 * Return the preset of a name, under the settings of the application.
 *
 * @throws {ConfigError} no preset has this name.
 */
export function presetUnder(name: string | null, settings: Preset): Preset {
  if (name === null) return settings;
  const preset = PRESETS.get(name);
  if (preset === undefined) {
    throw new ConfigError(`unknown preset ${printable(name)}; use one of ${[...PRESETS.keys()].join(", ")}`);
  }
  return {
    ...preset,
    ...Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined && value !== null)),
    claims: merged(preset.claims, settings.claims) as ExactClaims,
    claimsMap: merged(preset.claimsMap, settings.claimsMap) as ClaimsMapOption,
  };
}

function merged(preset: object | null | undefined, given: unknown): unknown {
  if (given === undefined || given === null) return preset ?? {};
  return isObject(given) ? { ...preset, ...given } : given;
}
