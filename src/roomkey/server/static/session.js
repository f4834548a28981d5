// The token: from a username and a password, until it ends.

import { $, log, make, notice } from "./dom.js";
import { changed, state } from "./state.js";
import { duration, why } from "./words.js";

// Only to show them: the server alone decides what they are worth.
function claimsOf(token) {
  const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

// A list of names, or what may be done in each: {"red": ["join"]}.
export function roomsOf(claims) {
  const { rooms } = claims;
  return Array.isArray(rooms) ? rooms : rooms && typeof rooms === "object" ? Object.keys(rooms) : [];
}

// Throws an Error that says why there is none.
export async function requestSession(username, password) {
  let answer;
  try {
    const body = JSON.stringify({ username, password });
    const headers = { "Content-Type": "application/json" };
    const response = await fetch("/auth/login", { method: "POST", headers, body });
    answer = await response.json();
    if (!response.ok) throw new Error(answer.error_description);
  } catch (error) {
    throw error instanceof TypeError ? new Error("The server cannot be reached.") : error;
  }
  const lifetime = answer.expires_in * 1000;
  const token = answer.access_token;
  return { token, claims: claimsOf(token), ends: performance.now() + lifetime, lifetime };
}

export async function login(event) {
  event.preventDefault();
  const password = $("password").value;
  $("password").value = "";
  $("login-problem").textContent = "";
  try {
    state.session = await requestSession($("username").value, password);
  } catch (error) {
    $("login-problem").textContent = error.message;
    return;
  }
  notice("");
  log("note", `logged in as ${state.session.claims.sub}`);
  changed();
}

// The username stays where it was typed.
export function endSession(text = "") {
  state.session = null;
  state.refused = new Map();
  notice(text);
  changed();
  $("password").focus();
}

function chips(id, names, none) {
  const listed = Array.isArray(names) ? names : [];
  $(id).replaceChildren(...(listed.length ? listed.map((name) => make("span", name, "chip")) : [make("span", none)]));
}

export function drawSession() {
  const { session } = state;
  $("login-card").hidden = Boolean(session);
  $("you-card").hidden = !session;
  if (!session) return;
  const { sub, roles } = session.claims;
  $("subject").textContent = sub;
  chips("roles", roles, "none");
  chips("token-rooms", roomsOf(session.claims), (roles || []).includes("admin") ? "every room" : "none");
  tick();
}

export function tick() {
  const { session } = state;
  if (!session) return;
  const left = Math.max(0, session.ends - performance.now());
  const seconds = Math.ceil(left / 1000);
  $("remaining").textContent = left > 0 ? `${duration(seconds)} left` : "expired";
  $("stay-remaining").textContent = left > 0 ? duration(seconds) : "expired";
  $("remaining-bar").value = left / session.lifetime;
  $("remaining-bar").classList.toggle("low", left < session.lifetime / 5);
  if (left === 0 && !state.socket) endSession(why({ data: { reason: "token_expired" } }));
}
