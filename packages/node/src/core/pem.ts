/** Parsing of PEM texts (RFC 7468). */

import { ConfigError } from "../errors.js";
import { MAX_RSA_BITS } from "./weak_keys.js";

/** Bytes: a private RSA key of 16,384 bits needs 12,700. */
const MAX_BLOCK = MAX_RSA_BITS;
const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----[^]*?-----END \1-----/g;

/**
 * Return the blocks of a PEM text that contain a key, or the only certificate if there is no key. Literal `\n`, as
 * environment variables and JSON files contain them, are read as line breaks.
 */
export function keyBlocks(pem: string): string[] {
  if (!pem.includes("-----BEGIN")) throw new ConfigError("not a PEM file: it has no line '-----BEGIN …-----'");
  const text = pem.replaceAll("\\r", "").replaceAll("\\n", "\n");
  const blocks = [...text.matchAll(BLOCK)];
  if (blocks.length !== text.split("-----BEGIN ").length - 1) {
    throw new ConfigError("a block of this PEM has no line '-----END …-----'; check that the text is complete");
  }
  const labelled = (end: string): string[] => blocks.filter((found) => found[1]?.endsWith(end)).map((found) => found[0]);
  const keys = labelled("KEY");
  const certificates = labelled("CERTIFICATE");
  if (keys.length === 0 && certificates.length > 1) {
    throw new ConfigError("this PEM contains several certificates; keep only the certificate of the signing key");
  }
  const chosen = keys.length > 0 ? keys : certificates;
  if (chosen.length === 0) throw new ConfigError("this PEM does not contain a key");
  if (chosen.some((block) => block.length > MAX_BLOCK)) {
    throw new ConfigError(`a key in this PEM has more than ${MAX_BLOCK} bytes`);
  }
  return chosen;
}
