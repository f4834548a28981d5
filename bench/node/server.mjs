// One of the servers that are compared: plain, guarded, or the recipe with io.use and jsonwebtoken. `recipe` passes the
// secret as a string, as how-tos write it; jsonwebtoken then tries to read it as a PEM. `recipe-key` passes a KeyObject.
import { createSecretKey } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [kind, secret] = process.argv.slice(2);
const ours = createRequire(new URL("../../packages/node/package.json", import.meta.url));
const { Server } = ours("socket.io");
const http = createServer();
const io = new Server(http, { transports: ["websocket"] });

if (kind === "guarded") {
  const { Verifier, guard } = ours("roomkey");
  guard(io, Verifier.hs256(secret, { audience: "chat" }));
}
if (kind.startsWith("recipe")) {
  const jwt = createRequire(new URL("../../tests/js/package.json", import.meta.url))("jsonwebtoken");
  const key = kind === "recipe" ? secret : createSecretKey(secret, "utf8");
  io.use((socket, next) => {
    try {
      socket.data.claims = jwt.verify(socket.handshake.auth.token, key, { algorithms: ["HS256"], audience: "chat" });
      next();
    } catch (error) {
      next(error);
    }
  });
}
io.on("connection", (socket) => socket.on("echo", (value, answer) => answer(value)));
http.listen(0, "127.0.0.1", () => process.send({ port: http.address().port }));
process.on("message", () => process.send({ cpu: process.cpuUsage() }));
