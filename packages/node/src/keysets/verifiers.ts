/** The named constructors of `Verifier` that ask other servers. */

import { oneOrMore } from "../core/claims.js";
import { PRESETS } from "../core/presets.js";
import { Verifier, type VerifierOptions } from "../core/verifier.js";
import { ConfigError } from "../errors.js";
import { RemoteKeySet, type RemoteOptions } from "./remote.js";

export type RemoteVerifierOptions = VerifierOptions & RemoteOptions;

/** Return the verifier of `Verifier.remote`. */
export function remoteVerifier(url: string, options: RemoteVerifierOptions): Verifier {
  const [remote, rest] = divided(options);
  return verifier(new RemoteKeySet(url, remote), oneOrMore(rest.issuer, "issuer"), rest);
}

/** Return the verifier of `Verifier.oidc`. */
export function oidcVerifier(issuer: string, options: RemoteVerifierOptions): Verifier {
  const [remote, rest] = divided(options);
  const keys = new RemoteKeySet(issuer, { ...remote, discover: true });
  const named = oneOrMore(rest.issuer, "issuer");
  const accepted = named.length > 0 ? named : [issuer];
  if (!accepted.includes(issuer)) throw new ConfigError(`issuer must contain '${issuer}': it lists the spellings of iss`);
  return verifier(keys, accepted, rest);
}

/** Divide the options into those about the keys and those about the claims. */
function divided(options: RemoteVerifierOptions): [RemoteOptions, VerifierOptions] {
  const { algorithms, fetchTimeout, agent, log, clock, ...rest } = options;
  const presets = PRESETS.get(rest.preset ?? "")?.algorithms;
  return [{ algorithms: algorithms ?? presets, fetchTimeout, agent, log, clock }, rest];
}

function verifier(keys: RemoteKeySet, issuers: readonly string[], { issuer: _, ...rest }: VerifierOptions): Verifier {
  const { algorithms } = keys;
  if (issuers.length > 1) return new Verifier(new Map(issuers.map((issuer) => [issuer, keys])), { ...rest, algorithms });
  return new Verifier(keys, { ...rest, issuer: issuers[0] ?? null, algorithms });
}
