export { connect } from "./connect.js";
export type { ConnectOptions, Refusal } from "./connect.js";
export { forgetTokens } from "./tokens.js";
export type { Tokens } from "./tokens.js";
