export { connect } from "./connect.js";
export type { ConnectOptions, Refusal } from "./connect.js";
export { dpopKey } from "./proof.js";
export type { ProofKey, ProvedRequest } from "./proof.js";
export { forgetTokens } from "./tokens.js";
export type { Tokens } from "./tokens.js";
