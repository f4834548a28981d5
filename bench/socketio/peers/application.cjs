// What socket.io runs, on Node and on Bun. The secret is a KeyObject: as a string it is tried as a PEM first, at every
// verification.
"use strict";

const { createSecretKey } = require("node:crypto");
const jwt = require("jsonwebtoken");

const key = createSecretKey(Buffer.from(process.env.SECRET));

exports.serve = (io) => {
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
};
