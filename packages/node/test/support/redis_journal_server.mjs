// A Socket.IO server that follows a journal in Redis: its address and secrets are in the environment.
import { createServer } from "node:http";
import { createClient } from "redis";
import { Verifier, guard, redisJournal, roomsClaim } from "roomkey";
import { Server } from "socket.io";

const { REDIS_URL, TOKEN_SECRET, CLUSTER_SECRET } = process.env;
const client = createClient({ url: REDIS_URL });
const http = createServer();
const roomkey = guard(new Server(http), Verifier.hs256(TOKEN_SECRET, { audience: "chat" }), {
  journal: redisJournal({ client, secrets: [CLUSTER_SECRET] }),
});
roomkey.policy.room("*", roomsClaim);
roomkey.serveRooms();
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
