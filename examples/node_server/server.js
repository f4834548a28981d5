// A Socket.IO server in Node.js that accepts the tokens of issue.py, by a shared secret or by a public key.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Verifier, guard, roomsClaim } from "roomkey";
import { Server } from "socket.io";

const { ROOMKEY_SECRET, ROOMKEY_PUBLIC_KEY_FILE, PORT = "8000" } = process.env;
if (!ROOMKEY_SECRET === !ROOMKEY_PUBLIC_KEY_FILE) {
  console.error("set ROOMKEY_SECRET or ROOMKEY_PUBLIC_KEY_FILE, one of them: see README.md");
  process.exit(1);
}

const expected = { audience: "chat", issuer: "desk" };
const verifier = ROOMKEY_SECRET
  ? Verifier.hs256(ROOMKEY_SECRET, expected)
  : Verifier.pem(readFileSync(ROOMKEY_PUBLIC_KEY_FILE), { ...expected, algorithms: ["ES256"] });

const http = createServer();
const io = new Server(http);
const roomkey = guard(io, verifier);
roomkey.policy.room("*", roomsClaim); // allow the rooms that the token names
roomkey.serveRooms(); // clients can send join-room and leave-room

io.on("connection", (socket) => socket.emit("welcome", socket.data.identity.subject));

http.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${http.address().port}`));
