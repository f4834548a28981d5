// The state that all parts of the page share. The token is only in this tab's memory, never in storage, a cookie or a URL.

export const state = {
  session: null, // {token, refresh, claims, ends, lifetime}; `ends` is in milliseconds of this browser's monotonic clock
  subject: null, // who logged in last
  socket: null,
  admitted: false, // true if the server has admitted the socket
  joined: new Set(),
  refused: new Map(), // room -> why the user is not in it
  others: [], // rooms that the user typed
};

const watchers = [];

export function onChange(draw) {
  watchers.push(draw);
}

// Redraw every part of the page.
export function changed() {
  for (const draw of watchers) draw();
}
