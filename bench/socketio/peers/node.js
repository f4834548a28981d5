// socket.io + jsonwebtoken on Node.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");
const { serve } = require("./application.cjs");

const server = createServer();
serve(new Server(server, { serveClient: false }));
server.listen(Number(process.env.PORT), "127.0.0.1");
