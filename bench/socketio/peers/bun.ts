// The official Bun engine under the official Socket.IO server; otherwise node.js's application.
import { createSecretKey } from "node:crypto";
import { Server as Engine } from "@socket.io/bun-engine";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const key = createSecretKey(Buffer.from(process.env.SECRET!));
const io = new Server({ serveClient: false });
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine as any);

io.use((socket, next) => {
  jwt.verify(socket.handshake.auth.token, key, { algorithms: ["HS256"] }, (error, claims) => {
    if (error) return next(new Error("Authentication error"));
    socket.data.claims = claims;
    next();
  });
});

io.on("connection", (socket) => {
  socket.on("message", (data, ack) => {
    if (ack) ack(data);
    else io.emit("message", data);
  });
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack(room);
  });
  socket.on("room", (room, data) => {
    io.to(room).emit("message", data);
  });
});

// The engine's README asks for an idleTimeout above the ping interval of 25 seconds.
export default { hostname: "127.0.0.1", port: Number(process.env.PORT), idleTimeout: 30, ...engine.handler() };
