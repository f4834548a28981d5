// What every part of the page knows. The token lives here, in this tab's memory: never in storage, a cookie or a URL.

export const state = {
  session: null, // {token, refresh, claims, ends, lifetime}: `ends` by this browser's monotonic clock, in milliseconds
  socket: null,
  admitted: false, // the server knows whose socket it is
  joined: new Set(),
  refused: new Map(), // room -> why one is not in it
  others: [], // rooms typed by hand
};

const watchers = [];

export function onChange(draw) {
  watchers.push(draw);
}

// Every part draws itself anew.
export function changed() {
  for (const draw of watchers) draw();
}
