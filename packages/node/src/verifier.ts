/** The public `Verifier`: that of the core, with the constructors that ask other servers. */

import type { TokenVerifier } from "./core/any_of.js";
import { Verifier as CoreVerifier } from "./core/verifier.js";
import { type IntrospectionOptions, IntrospectionVerifier } from "./keysets/introspection.js";
import { type RemoteVerifierOptions, oidcVerifier, remoteVerifier } from "./keysets/verifiers.js";

// The core does no I/O, so these constructors are added to the class from outside.
const asking = {
  /**
   * A verifier for tokens of another server, which publishes its keys as a JWK Set. The keys are fetched when tokens need
   * them: see {@link RemoteKeySet}.
   *
   * @param url where the keys are: an `https` URL, or `http` on this machine.
   * @throws {ConfigError} an invalid URL or setting.
   */
  remote(url: string, options: RemoteVerifierOptions = {}): CoreVerifier {
    return remoteVerifier(url, options);
  },

  /**
   * A verifier for access tokens of an OpenID provider (OpenID Connect Discovery 1.0). It finds the keys in the issuer's
   * discovery document, and fetches them as `Verifier.remote` does.
   *
   * @param issuer the issuer, exactly as in its discovery document and in `iss`. If the tokens have another spelling of
   *   `iss`, list all spellings as the option `issuer`.
   * @throws {ConfigError} an invalid issuer or setting.
   */
  oidc(issuer: string, options: RemoteVerifierOptions = {}): CoreVerifier {
    return oidcVerifier(issuer, options);
  },

  /**
   * A verifier that asks the server that issued a token (RFC 7662), for tokens that only it can read. A positive answer is
   * used for at most 60 seconds and never past `exp`, a negative one for 10 seconds.
   *
   * @param url the introspection endpoint: an `https` URL, or `http` on this machine.
   * @param options the name and the secret of this server there, and what is expected of the claims, such as `audience`. By
   *   default, the answer must have `exp` and `sub`; to accept an answer without one of them, pass `require`.
   * @throws {ConfigError} an invalid URL or setting.
   */
  introspection(url: string, options: IntrospectionOptions): TokenVerifier {
    return new IntrospectionVerifier(url, options);
  },
};

export const Verifier = Object.assign(CoreVerifier, asking);
export type Verifier = CoreVerifier;
