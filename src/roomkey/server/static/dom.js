// Elements, and the lines that speak to the person. What comes from a server or a person is put in with textContent,
// never as HTML.

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

// The line above everything, read out by a screen reader at once; `tone` is "bad" or "wait".
export function notice(text, tone = "bad") {
  $("notice").textContent = text;
  $("notice").dataset.state = tone;
  $("notice").hidden = !text;
}

// The event log: what crosses the wire, without the token.
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
