// The same application on the official Bun engine under the official Socket.IO server.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import { serve } from "./application.cjs";

const io = new Server({ serveClient: false });
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine as any);
serve(io);

// The engine's README asks for an idleTimeout above the ping interval of 25 seconds.
export default { hostname: "127.0.0.1", port: Number(process.env.PORT), idleTimeout: 30, ...engine.handler() };
