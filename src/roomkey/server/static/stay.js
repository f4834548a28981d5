// Renewal: get a new token with the refresh token, or else with the password, and present it on the same socket, so that
// the connection is not interrupted.

import { $, notice } from "./dom.js";
import { refreshSession, requestSession } from "./session.js";
import { changed, state } from "./state.js";
import { duration, why } from "./words.js";

// If a renewal is rejected for these reasons, the socket stays connected with its older token.
const HARMLESS = ["malformed", "claim", "temporarily_unavailable"];

let presented = null; // the new session, until the server has accepted its token

export function offerToStay(text) {
  $("stay").hidden = false;
  $("stay-text").textContent = text;
}

export async function warn({ expires_in: seconds }) {
  const { session } = state;
  session.ends = performance.now() + seconds * 1000; // by the server's clock
  try {
    present(await refreshSession(session), session);
  } catch {
    if (state.session !== session) return;
    offerToStay(`Your token expires in ${duration(seconds)}. Enter your password to stay connected.`);
  }
}

function present(renewed, session) {
  if (state.session !== session) return; // disconnected or logged out in the meantime
  presented = renewed;
  if (state.admitted) state.socket.emit("authenticate", { token: renewed.token });
  else renew();
}

export function reauthenticate({ event }) {
  offerToStay(`“${event}” requires a recent login. Enter your password, then try again.`);
}

export function askToStay() {
  offerToStay("To get a new token, enter your password. You stay connected.");
  $("stay-password").focus();
}

export function closeStay() {
  presented = null;
  $("stay").hidden = true;
  $("stay-password").value = "";
  problem("");
}

function problem(text) {
  $("stay-problem").textContent = text;
}

export async function stay(event) {
  event.preventDefault();
  const { session } = state;
  const password = $("stay-password").value;
  $("stay-password").value = "";
  problem("");
  notice("");
  let renewed;
  try {
    renewed = await requestSession(session.claims.sub, password);
  } catch (error) {
    problem(error.message);
    return;
  }
  present(renewed, session);
}

// The server has accepted the token, or there is no socket to present it on.
export function renew() {
  if (!presented) return;
  state.session = presented;
  closeStay();
  changed();
}

// Return true if `unauthorized` concerns only the new token, and the socket stays connected.
export function refusesRenewal(error) {
  if (!presented || !HARMLESS.includes(error?.data?.reason)) return false;
  presented = null;
  problem(`${why(error)} You are still connected.`);
  return true;
}

export function drawStay() {
  if (!state.session) closeStay();
}
