// A Socket.IO server in Node.js that accepts the tokens of issue.py, by a shared secret or by a public key.
import { createPublicKey, createSecretKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const { ROOMKEY_SECRET, ROOMKEY_PUBLIC_KEY_FILE, PORT = "8000" } = process.env;
if (!ROOMKEY_SECRET === !ROOMKEY_PUBLIC_KEY_FILE) {
  console.error("set ROOMKEY_SECRET or ROOMKEY_PUBLIC_KEY_FILE, one of them: see README.md");
  process.exit(1);
}

// Use a KeyObject, not a string: jsonwebtoken tries to read a string as PEM for every token.
const key = ROOMKEY_SECRET
  ? createSecretKey(ROOMKEY_SECRET, "utf8")
  : createPublicKey(readFileSync(ROOMKEY_PUBLIC_KEY_FILE));
const rules = { algorithms: [ROOMKEY_SECRET ? "HS256" : "ES256"], audience: "chat", issuer: "desk", complete: true };

function claimsOf(token) {
  if (typeof token !== "string") throw new jwt.JsonWebTokenError("no token provided");
  const { header, payload } = jwt.verify(token, key, rules);
  // jsonwebtoken accepts tokens without these properties; roomkey does not.
  const sound = typeof payload.sub === "string" && typeof payload.exp === "number" && !("crit" in header);
  if (!sound) throw new jwt.JsonWebTokenError("invalid token");
  return payload;
}

function admit(socket, next) {
  try {
    socket.data.claims = claimsOf(socket.handshake.auth?.token);
    next();
  } catch (error) {
    const message = error instanceof jwt.JsonWebTokenError ? error.message : "invalid token";
    const code = message === "no token provided" ? "credentials_required" : "invalid_token";
    next(Object.assign(new Error(message), { data: { message, code, type: "UnauthorizedError" } }));
    setImmediate(() => socket.conn.close()); // after the reply, close the connection of a refused client
  }
}

const http = createServer();
const io = new Server(http);
io.use(admit); // guards only "/"; every other namespace is guarded when it is created
io.on("new_namespace", (namespace) => namespace.use(admit));

io.on("connection", (socket) => {
  const { sub, exp, rooms } = socket.data.claims;
  const expiry = setTimeout(() => socket.conn.close(), Math.min(exp * 1000 - Date.now(), 2 ** 31 - 1));
  socket.on("disconnect", () => clearTimeout(expiry));
  socket.on("join-room", (room, answer) => {
    const ok = Array.isArray(rooms) && rooms.includes(room);
    if (ok) socket.join(room);
    if (typeof answer === "function") answer({ ok });
  });
  socket.emit("welcome", sub);
});

http.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${http.address().port}`));
