// socket.io + jsonwebtoken. The secret is a KeyObject: as a string it is tried as a PEM first, at every verification.
"use strict";

const { createSecretKey } = require("node:crypto");
const { createServer } = require("node:http");
const jwt = require("jsonwebtoken");
const { Server } = require("socket.io");

const key = createSecretKey(Buffer.from(process.env.SECRET));
const server = createServer();
const io = new Server(server, { serveClient: false });

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

server.listen(Number(process.env.PORT), "127.0.0.1");
