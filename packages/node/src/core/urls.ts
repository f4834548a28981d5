/** URLs to which secrets can be sent, and whose answers can be believed. */

import { ConfigError } from "../errors.js";

const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** Return true for an absolute https URL, or an http URL of this machine, without a user name or a password. */
export function isConfidential(url: string): boolean {
  if (!/^[!-~]+$/.test(url) || !URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  if (hostname === "" || authorityOf(url).includes("@")) return false;
  return protocol === "https:" || (protocol === "http:" && LOOPBACK.test(hostname));
}

/**
 * Return true if a discovery document can name this URL as one of its issuer's.
 *
 * It must be confidential. Only an issuer on this machine can name `http` URLs: otherwise, another server could choose what
 * this process requests from the services next to it.
 *
 * @param issuer a URL for which `isConfidential` is true.
 */
export function isEndpoint(url: unknown, issuer: string): url is string {
  if (typeof url !== "string" || url.includes("#") || !isConfidential(url)) return false;
  return new URL(url).protocol === "https:" || new URL(issuer).protocol === "http:";
}

/**
 * Check a URL to which requests are sent.
 *
 * @throws {ConfigError} not an https URL, nor an http URL of this machine.
 */
export function checkUrl(url: unknown, what: string): string {
  if (typeof url !== "string" || !isConfidential(url) || url.includes("#")) {
    throw new ConfigError(`${what} must be an https:// URL without a password; http:// is accepted for this machine only`);
  }
  return url;
}

/**
 * Check the issuer whose discovery document is fetched.
 *
 * @throws {ConfigError} as for {@link checkUrl}, or the URL of the document instead of the issuer.
 */
export function checkIssuer(issuer: unknown): string {
  const url = checkUrl(issuer, "the issuer");
  const [before, document] = url.split("/.well-known/");
  if (document !== undefined) {
    throw new ConfigError(`the issuer must not be the URL of its discovery document; use '${before}'`);
  }
  return url;
}

function authorityOf(url: string): string {
  return /^[^:]*:[/\\]*([^/\\?#]*)/.exec(url)?.[1] ?? "";
}
