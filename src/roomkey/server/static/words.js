// The texts for the reasons of errors and of closed connections.

const REASONS = {
  token_expired: "Your token has expired. Log in again.",
  token_revoked: "Your access was revoked. Log in again.",
  authentication_timeout: "You did not present a token in time.",
  too_many_attempts: "Too many attempts were rejected.",
  subject_mismatch: "The token belongs to another user.",
  permission_denied: "You are not allowed to do that.",
  limit_exceeded: "You have reached a limit of this server.",
  invalid_dpop_proof: "This token is bound to a key that this page does not have. Log in again.",
  use_dpop_nonce: "This token is bound to a key that this page does not have. Log in again.",
  bad_signature: "The server does not accept the signature of this token. Log in again.",
  temporarily_unavailable: "The server is temporarily unavailable. Try again in a moment.",
};

const CLOSES = {
  "io server disconnect": "The server closed the connection.",
  "transport close": "The connection was closed.",
  "transport error": "The connection was lost.",
  "ping timeout": "The server did not respond.",
};

export const LOST = "You are no longer in this room: your rights have changed.";

export const reasonOf = (error) => error?.data?.reason;

export function why(error) {
  return REASONS[reasonOf(error)] || `The server rejected this: ${error?.data?.message || error?.message || "no reason given"}.`;
}

export const whyClosed = (reason) => CLOSES[reason] || reason;

export function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
