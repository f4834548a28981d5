// The login session: from a username and a password to its end.

import { $, clearTexts, log, make, notice } from "./dom.js";
import { changed, state } from "./state.js";
import { duration, why } from "./words.js";

// Only for display: the server verifies the token.
function claimsOf(token) {
  const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

// The claim is a list of names, or an object with the actions for each name: {"red": ["join"]}.
export function roomsOf(claims) {
  const { rooms } = claims;
  return Array.isArray(rooms) ? rooms : rooms && typeof rooms === "object" ? Object.keys(rooms) : [];
}

// Throws an Error with the reason.
async function post(path, body, token, others) {
  const headers = { "Content-Type": "application/json", ...others };
  if (token) headers.Authorization = `Bearer ${token}`;
  try {
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error_description);
    return answer;
  } catch (error) {
    throw error instanceof TypeError ? new Error("The server is unavailable.") : error;
  }
}

function sessionOf({ access_token: token, expires_in: seconds, refresh_token: refresh }) {
  const lifetime = seconds * 1000;
  return { token, refresh, claims: claimsOf(token), ends: performance.now() + lifetime, lifetime };
}

export async function requestSession(username, password) {
  return sessionOf(await post("/auth/login", { username, password }));
}

// A refresh token is single-use: keep the next one even if the server rejects the access token.
export async function refreshSession(session) {
  const next = sessionOf(await post("/auth/refresh", { refresh_token: session.refresh }));
  session.refresh = next.refresh;
  return next;
}

// The server ends the login session, or all, and disconnects their other sockets. The page does not wait for the response.
export function forgetSession({ token }, path) {
  post(path, {}, token).catch((error) => log("note", `the server could not log out: ${error.message}`));
}

function begin(session) {
  const { sub } = session.claims;
  if (sub !== state.subject) {
    clearTexts();
    state.others = [];
  }
  Object.assign(state, { session, subject: sub });
  notice("");
  log("note", `logged in as ${sub}`);
  changed();
}

export async function login(event) {
  event.preventDefault();
  const password = $("password").value;
  $("password").value = "";
  $("login-problem").textContent = "";
  try {
    begin(await requestSession($("username").value, password));
  } catch (error) {
    $("login-problem").textContent = error.message;
  }
}

// A provider has sent the browser back: the server keeps the tokens for this page, once and for a minute.
export async function returnFromProvider() {
  if (location.hash !== "#roomkey-login") return;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    begin(sessionOf(await post("/auth/providers/tokens", {}, undefined, { "Roomkey-CSRF": "1" })));
  } catch (error) {
    $("login-problem").textContent = error.message;
  }
}

// The form keeps the username.
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
