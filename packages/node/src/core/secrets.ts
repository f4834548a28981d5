/** Shared secrets of a verifier: the one before the current one, and those that are too short. */

import { ConfigError } from "../errors.js";
import { HMAC_BYTES } from "./algorithms.js";
import { LAST_SECOND } from "./claims.js";
import { KeySet } from "./key_set.js";
import type { Key } from "./keys.js";

/** The secret that is on its way out, as a key, and until when. */
export function previousSecret(key: Key, previous: unknown, make: (old: string) => Key): { keys: KeySet; until: number } {
  const [old, until] = Array.isArray(previous) && previous.length === 2 ? (previous as [string, unknown]) : [];
  if (typeof until !== "number" || !(until >= 0 && until <= LAST_SECOND)) {
    throw new ConfigError("previous takes two values: the old secret, and a time in seconds since the epoch");
  }
  const older = make(old as string);
  if (older.thumbprint === key.thumbprint) {
    throw new ConfigError("previous contains the current secret; pass the one before it");
  }
  return { keys: new KeySet([older]), until };
}

/** The warning about a secret that is too short, without the secret; empty if it is not. */
export function shortSecretWarning(secret: string | Uint8Array, algorithm: string, name: string): readonly string[] {
  const { length } = Buffer.from(secret);
  const wanted = HMAC_BYTES.get(algorithm) ?? 0;
  if (length >= wanted) return [];
  return [
    `${name} has ${length} bytes: whoever has one token can guess it, and then issue tokens; ` +
      `replace it by one of at least ${wanted} bytes (RFC 7518 section 3.2)`,
  ];
}
