// The connection: presents the token, and handles the events of the wire contract.

import { $, log, notice, show } from "./dom.js";
import { hear, leaveRooms } from "./rooms.js";
import { endSession } from "./session.js";
import { changed, state } from "./state.js";
import { reauthenticate, refusesRenewal, renew, warn } from "./stay.js";
import { reasonOf, why, whyClosed } from "./words.js";

const REPORTED = ["unauthorized", "error", "token_expiring", "permissions_changed", "reauthenticate"];
const NEW_LOGIN = ["token_expired", "token_revoked", "bad_signature"];

export function connect() {
  const handshake = document.querySelector("[name=via]:checked").value === "handshake";
  const payload = () => ({ token: state.session.token }); // read it now: it may have been renewed
  notice("");
  state.refused = new Map();
  // Without a payload at the handshake, the socket stays in quarantine until it sends `authenticate`.
  const auth = handshake ? (callback) => callback(payload()) : undefined;
  const socket = io({ forceNew: true, auth });
  state.socket = socket;
  log("out", "CONNECT", handshake ? payload() : undefined);
  show("connecting", "wait");
  socket.on("connect", () => {
    log("in", "CONNECT");
    if (handshake) admitted();
    else {
      show("connected, not yet admitted", "wait");
      socket.emit("authenticate", payload());
    }
  });
  socket.onAny((name, ...args) => log("in", name, args[0], REPORTED.includes(name)));
  socket.onAnyOutgoing((name, ...args) => log("out", name, args[0]));
  socket.on("authenticated", () => {
    renew();
    admitted();
  });
  socket.on("token_expiring", warn);
  socket.on("reauthenticate", reauthenticate);
  socket.on("permissions_changed", ({ left }) => leaveRooms(left));
  socket.on("unauthorized", (error) => refusesRenewal(error) || disconnected(error));
  socket.on("message", hear);
  socket.on("connect_error", (error) => {
    log("in", "connect_error", error.data || error.message, true);
    if (socket.active) show("trying again", "wait");
    else disconnected(error);
  });
  socket.on("disconnect", (reason) => {
    const mine = reason === "io client disconnect";
    log(mine ? "out" : "in", "disconnect", reason, !mine);
    lost(reason);
  });
  changed();
}

function admitted() {
  state.admitted = true;
  show(`connected as ${state.session.claims.sub}`, "on");
  changed();
}

// The server refused or disconnected the socket. It would refuse the same token again, so do not reconnect with it.
function disconnected(error) {
  drop();
  if (NEW_LOGIN.includes(reasonOf(error))) endSession(why(error));
  else notice(why(error));
  show({ token_expired: "token expired", token_revoked: "access revoked" }[reasonOf(error)] || "refused", "bad");
}

function lost(reason) {
  state.admitted = false;
  state.joined = new Set();
  if (state.socket && state.socket.active) show("connection lost, trying again", "wait");
  else {
    if (reason !== "io client disconnect") notice(whyClosed(reason));
    hangUp();
  }
  changed();
}

export function hangUp() {
  drop();
  show("not connected", "off");
}

function drop() {
  const old = state.socket;
  state.socket = null;
  state.admitted = false;
  state.joined = new Set();
  if (old) old.disconnect();
  changed();
}

export function drawConnection() {
  const { via } = document.body.dataset;
  document.querySelectorAll("[name=via]").forEach((radio) => {
    const offered = via === "both" || via === radio.value;
    radio.disabled = !offered || Boolean(state.socket);
    if (offered && !document.querySelector("[name=via]:checked")) radio.checked = true;
  });
  $("connect").hidden = Boolean(state.socket);
  $("connect").disabled = !state.session;
  $("disconnect").hidden = !state.socket;
}
