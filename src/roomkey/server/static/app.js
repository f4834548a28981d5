"use strict";
// The page of `roomkey serve`. The token lives in this tab's memory only: never in storage, a cookie or a URL.
// What comes from a server or a person is put in with textContent, never as HTML.

const $ = (id) => document.getElementById(id);
const REASONS = {
  token_expired: "Your token has expired. Log in again.",
  token_revoked: "Your token was cancelled. Log in again.",
  authentication_timeout: "No token was presented in time.",
  too_many_attempts: "Too many refused attempts.",
  subject_mismatch: "That token belongs to somebody else.",
  permission_denied: "You may not do that.",
  bad_signature: "The server does not know who signed this token. Log in again.",
  temporarily_unavailable: "The server cannot decide right now. Try again in a moment.",
};
const CLOSES = {
  "io server disconnect": "The server ended the connection.",
  "io client disconnect": "You disconnected.",
  "transport close": "The connection was closed.",
  "transport error": "The connection was lost.",
  "ping timeout": "The server no longer answers.",
};
const LOG_LINES = 200;
const MESSAGES = 300;

let session = null; // {token, claims, ends, lifetime}: `ends` by this browser's monotonic clock, in milliseconds
let socket = null;
let joined = new Set();
let refused = new Map(); // room -> why
let others = []; // rooms typed by hand

// ------------------------------------------------------------------ small helpers

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function show(status, state) {
  $("status").textContent = status;
  $("status").dataset.state = state;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function words(seconds) {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function why(error) {
  const data = (error && error.data) || {};
  return REASONS[data.reason] || `The server refused: ${data.message || (error && error.message) || "no reason given"}.`;
}

// The event log: what crosses the wire, without the token.
function log(direction, name, payload, problem) {
  const shown = payload === undefined ? "" : JSON.stringify(payload, (key, value) => (key === "token" ? "…" : value));
  const line = make("li");
  line.append(
    make("time", new Date().toLocaleTimeString("en-GB")),
    make("span", direction === "in" ? "←" : direction === "out" ? "→" : "·", direction),
    make("span", `${name} ${shown}`.trim(), problem ? "problem" : ""),
  );
  const list = $("log");
  list.append(line);
  while (list.children.length > LOG_LINES) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

// ------------------------------------------------------------------ the token

function claimsOf(token) {
  // Only to show them: the server alone decides what they are worth.
  const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

async function login(event) {
  event.preventDefault();
  const body = JSON.stringify({ username: $("username").value, password: $("password").value });
  $("login-problem").textContent = "";
  let answer;
  try {
    const response = await fetch("/auth/login", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    answer = await response.json();
    if (!response.ok) throw new Error(answer.error_description);
  } catch (error) {
    $("login-problem").textContent = error instanceof TypeError ? "The server cannot be reached." : error.message;
    return;
  }
  $("password").value = "";
  const lifetime = answer.expires_in * 1000;
  const token = answer.access_token;
  session = { token, claims: claimsOf(token), ends: performance.now() + lifetime, lifetime };
  notice("");
  log("note", `logged in as ${session.claims.sub}`);
  showSession();
}

function logout(text) {
  if (socket) hangUp();
  session = null;
  refused = new Map();
  notice(typeof text === "string" ? text : "");
  showSession();
}

function chips(id, names, none) {
  const listed = Array.isArray(names) ? names : [];
  $(id).replaceChildren(...(listed.length ? listed.map((name) => make("span", name, "chip")) : [make("span", none)]));
}

function showSession() {
  $("login-card").hidden = Boolean(session);
  $("you-card").hidden = !session;
  if (session) {
    $("subject").textContent = session.claims.sub;
    chips("roles", session.claims.roles, "none");
    chips("token-rooms", session.claims.rooms, (session.claims.roles || []).includes("admin") ? "every room" : "none");
    tick();
  } else {
    $("password").focus();
  }
  showRooms();
  showControls();
}

function tick() {
  if (!session) return;
  const left = Math.max(0, session.ends - performance.now());
  $("remaining").textContent = left > 0 ? `${words(Math.ceil(left / 1000))} left` : "expired";
  $("remaining-bar").value = left / session.lifetime;
  $("remaining-bar").classList.toggle("low", left < session.lifetime / 5);
  if (left === 0 && !socket) logout(REASONS.token_expired);
}

// ------------------------------------------------------------------ the connection

function connect() {
  const handshake = document.querySelector("[name=via]:checked").value === "handshake";
  const token = session.token;
  notice("");
  refused = new Map();
  // Without a payload in the handshake the connection stays shut until the event `authenticate`.
  const auth = handshake ? { token } : undefined;
  socket = io({ forceNew: true, auth });
  log("out", "CONNECT", auth);
  show("connecting", "wait");
  socket.on("connect", () => {
    log("in", "CONNECT");
    if (handshake) admitted();
    else {
      show("connected, not yet admitted", "wait");
      socket.emit("authenticate", { token });
    }
  });
  socket.onAny((name, ...args) => log("in", name, args[0], name === "unauthorized" || name === "error"));
  socket.onAnyOutgoing((name, ...args) => log("out", name, args[0]));
  socket.on("authenticated", admitted);
  socket.on("unauthorized", putOut);
  socket.on("connect_error", (error) => {
    log("in", "connect_error", error.data || error.message, true);
    if (socket.active) show("trying again", "wait");
    else putOut(error);
  });
  socket.on("disconnect", (reason) => {
    const mine = reason === "io client disconnect";
    log(mine ? "out" : "in", "disconnect", reason, !mine);
    left(reason);
  });
  socket.on("message", (message) => hear(message));
  showControls();
}

function admitted() {
  show(`connected as ${session.claims.sub}`, "on");
  showControls();
  showRooms();
}

// Refused, or no longer welcome. The same token would be refused again, so there is no reconnecting with it.
function putOut(error) {
  const reason = ((error && error.data) || {}).reason;
  drop();
  if (reason === "token_expired" || reason === "token_revoked" || reason === "bad_signature") logout(why(error));
  else notice(why(error));
  show(reason === "token_expired" ? "token expired" : "refused", "bad");
}

function left(reason) {
  joined = new Set();
  if (socket && socket.active) show("connection lost, trying again", "wait");
  else {
    if (reason !== "io client disconnect") notice(CLOSES[reason] || reason);
    drop();
    show("not connected", "off");
  }
  showRooms();
  showControls();
}

function hangUp() {
  drop();
  show("not connected", "off");
}

function drop() {
  const old = socket;
  socket = null;
  joined = new Set();
  if (old) old.disconnect();
  showRooms();
  showControls();
}

// ------------------------------------------------------------------ rooms and chat

function isAdmitted() {
  return Boolean(socket) && $("status").dataset.state === "on";
}

function knownRooms() {
  const claimed = session && Array.isArray(session.claims.rooms) ? session.claims.rooms : [];
  return [...new Set([...document.body.dataset.rooms.split(" ").filter(Boolean), ...claimed, ...others])];
}

function showRooms() {
  const rows = knownRooms().map((room) => {
    const inside = joined.has(room);
    const row = make("li", undefined, inside ? "joined" : "");
    row.dataset.testid = `room-${room}`;
    const button = make("button", inside ? "Leave" : "Join");
    button.type = "button";
    button.disabled = !isAdmitted();
    button.setAttribute("aria-label", `${inside ? "Leave" : "Join"} ${room}`);
    button.addEventListener("click", () => (inside ? leaveRoom(room) : joinRoom(room)));
    row.append(make("span", room, "name"), button);
    if (refused.has(room)) row.append(make("p", refused.get(room), "problem"));
    return row;
  });
  $("rooms").replaceChildren(...rows);
  const chosen = $("chat-room").value;
  $("chat-room").replaceChildren(...[...joined].map((room) => make("option", room)));
  if (joined.has(chosen)) $("chat-room").value = chosen;
}

// Ask the server; `then` gets its acknowledgement.
function ask(name, payload, then) {
  socket.timeout(10000).emit(name, payload, (late, answer) => {
    log("in", `ack of ${name}`, late ? "none within 10 s" : answer, late || !answer.ok);
    then(late ? { ok: false, error: { message: "The server did not answer." } } : answer);
    showRooms();
    showControls();
  });
}

function joinRoom(room) {
  ask("join-room", room, (answer) => {
    if (answer.ok) {
      joined.add(room);
      refused.delete(room);
      $("chat-room").append(make("option", room));
      $("chat-room").value = room;
    } else refused.set(room, `Refused: ${answer.error.message}. Your token does not open this room.`);
  });
}

function leaveRoom(room) {
  ask("leave-room", room, (answer) => answer.ok && joined.delete(room));
}

function joinTyped(event) {
  event.preventDefault();
  const room = $("room-name").value.trim();
  if (!room) return;
  if (!knownRooms().includes(room)) others.push(room);
  $("room-name").value = "";
  joinRoom(room);
}

function say(event) {
  event.preventDefault();
  const text = $("chat-text").value;
  $("chat-text").value = "";
  ask("message", { room: $("chat-room").value, text }, (answer) => answer.ok || notice(answer.error.message));
}

function hear(message) {
  const list = $("messages");
  list.querySelectorAll(".empty").forEach((node) => node.remove());
  const line = make("li");
  line.append(make("span", message.room, "room"), make("b", message.from), make("span", message.text));
  list.append(line);
  while (list.children.length > MESSAGES) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

// ------------------------------------------------------------------ what can be pressed

function showControls() {
  const via = document.body.dataset.via;
  document.querySelectorAll("[name=via]").forEach((radio) => {
    const offered = via === "both" || via === radio.value;
    radio.disabled = !offered || Boolean(socket);
    if (offered && !document.querySelector("[name=via]:checked")) radio.checked = true;
  });
  $("connect").hidden = Boolean(socket);
  $("connect").disabled = !session;
  $("disconnect").hidden = !socket;
  $("room-join").disabled = !isAdmitted();
  for (const id of ["chat-room", "chat-text", "chat-send"]) $(id).disabled = joined.size === 0;
}

$("login-form").addEventListener("submit", login);
$("logout").addEventListener("click", logout);
$("connect").addEventListener("click", connect);
$("disconnect").addEventListener("click", hangUp);
$("room-form").addEventListener("submit", joinTyped);
$("chat-form").addEventListener("submit", say);
$("log-clear").addEventListener("click", () => $("log").replaceChildren());
$("demo-hint").hidden = !document.body.dataset.rooms;
setInterval(tick, 250);
showRooms();
showControls();
if (typeof io === "undefined") notice("The Socket.IO client could not be loaded: python scripts/vendor_client.py copies it here.");
