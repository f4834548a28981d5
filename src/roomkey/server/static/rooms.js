// Rooms and chat.

import { $, log, make, notice } from "./dom.js";
import { roomsOf } from "./session.js";
import { changed, state } from "./state.js";
import { LOST } from "./words.js";

const MESSAGES = 300;

function knownRooms() {
  const claimed = state.session ? roomsOf(state.session.claims).filter((name) => !name.includes("*")) : [];
  return [...new Set([...document.body.dataset.rooms.split(" ").filter(Boolean), ...claimed, ...state.others])];
}

export function drawRooms() {
  const { admitted, joined, refused } = state;
  const rows = knownRooms().map((room) => {
    const inside = joined.has(room);
    const row = make("li", undefined, inside ? "joined" : "");
    row.dataset.testid = `room-${room}`;
    const button = make("button", inside ? "Leave" : "Join");
    button.type = "button";
    button.disabled = !admitted;
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
  $("room-join").disabled = !admitted;
  for (const id of ["chat-room", "chat-text", "chat-send"]) $(id).disabled = joined.size === 0;
}

// Send an event; `then` receives the acknowledgement.
function ask(name, payload, then) {
  state.socket.timeout(10000).emit(name, payload, (late, answer) => {
    log("in", `ack of ${name}`, late ? "none within 10 s" : answer, late || !answer.ok);
    then(late ? { ok: false, error: { message: "The server did not respond." } } : answer);
    changed();
  });
}

function joinRoom(room) {
  ask("join-room", room, (answer) => {
    if (answer.ok) {
      state.joined.add(room);
      state.refused.delete(room);
      $("chat-room").append(make("option", room));
      $("chat-room").value = room;
    } else state.refused.set(room, `Refused: ${answer.error.message}. Your token does not open this room.`);
  });
}

function leaveRoom(room) {
  ask("leave-room", room, (answer) => answer.ok && state.joined.delete(room));
}

export function joinTyped(event) {
  event.preventDefault();
  const room = $("room-name").value.trim();
  if (!room) return;
  if (!knownRooms().includes(room)) state.others.push(room);
  $("room-name").value = "";
  joinRoom(room);
}

// The server has removed the socket from these rooms.
export function leaveRooms(rooms) {
  for (const room of rooms) {
    state.joined.delete(room);
    state.refused.set(room, LOST);
  }
  notice(`Your rights have changed. You are no longer in: ${rooms.join(", ")}.`, "wait");
  changed();
}

export function say(event) {
  event.preventDefault();
  const text = $("chat-text").value;
  $("chat-text").value = "";
  ask("message", { room: $("chat-room").value, text }, ({ ok, error }) => ok || notice(error.message));
}

export function hear(message) {
  const list = $("messages");
  const line = make("li");
  line.append(make("span", message.room, "room"), make("b", message.from), make("span", message.text));
  list.append(line);
  while (list.children.length > MESSAGES) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}
