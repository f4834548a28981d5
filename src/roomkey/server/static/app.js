// The page of `roomkey serve`: its buttons and forms, and what is drawn when the state changes.

import { connect, drawConnection, hangUp } from "./connection.js";
import { $, clearTexts, notice } from "./dom.js";
import { drawRooms, joinTyped, say } from "./rooms.js";
import { drawSession, endSession, forgetSession, login, returnFromProvider, tick } from "./session.js";
import { changed, onChange, state } from "./state.js";
import { askToStay, closeStay, drawStay, stay } from "./stay.js";

// `path` ends this login session, or all of the user: that disconnects the user's other pages, too.
function logout(path) {
  forgetSession(state.session, path);
  hangUp();
  endSession();
  clearTexts();
}

$("login-form").addEventListener("submit", login);
$("logout").addEventListener("click", () => logout("/auth/logout"));
$("logout-all").addEventListener("click", () => logout("/auth/logout-all"));
$("stay-open").addEventListener("click", askToStay);
$("stay-form").addEventListener("submit", stay);
$("stay-later").addEventListener("click", closeStay);
$("connect").addEventListener("click", connect);
$("disconnect").addEventListener("click", hangUp);
$("room-form").addEventListener("submit", joinTyped);
$("chat-form").addEventListener("submit", say);
$("log-clear").addEventListener("click", () => $("log").replaceChildren());
$("demo-hint").hidden = !document.body.dataset.rooms;
[drawSession, drawStay, drawConnection, drawRooms].forEach(onChange);
setInterval(tick, 250);
changed();
returnFromProvider();
if (typeof io === "undefined") notice("The Socket.IO client could not be loaded. To copy it to this server, run: python scripts/vendor_client.py");
