// Elements, and the lines of text for the user. Text from a server or a user is inserted with textContent, never as HTML.

const LOG_LINES = 200;

export const $ = (id) => document.getElementById(id);

export function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

export function show(status, tone) {
  $("status").textContent = status;
  $("status").dataset.state = tone;
}

// The line at the top, which a screen reader reads immediately; `tone` is "bad" or "wait".
export function notice(text, tone = "bad") {
  $("notice").textContent = text;
  $("notice").dataset.state = tone;
  $("notice").hidden = !text;
}

// What the next user of this browser must not read.
export function clearTexts() {
  $("messages").replaceChildren();
  $("log").replaceChildren();
}

// The event log: everything that is sent and received, without the token.
export function log(direction, name, payload, problem) {
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
