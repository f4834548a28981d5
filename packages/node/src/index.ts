export * from "./errors.js";
export { type Identity, grants, hasRole, hasScope, isGuest } from "./core/identity.js";
export { Key, type KeyOptions, KeySet, type LiveKeySet } from "./core/keys.js";
export { type SecretOptions, Verifier, type VerifierOptions } from "./core/verifier.js";
