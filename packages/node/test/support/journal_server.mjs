// A Socket.IO server that follows the journal of a login server: its address and client are in the environment.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { Verifier, guard, roomsClaim } from "roomkey";

const { LOGIN, ISSUER, AUDIENCE, CLIENT_ID, CLIENT_SECRET } = process.env;
const verifier = Verifier.remote(`${LOGIN}/.well-known/jwks.json`, { issuer: ISSUER, audience: AUDIENCE });
const http = createServer();
const io = new Server(http);
const journal = { url: `${LOGIN}/auth/revocations`, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
const roomkey = guard(io, verifier, { journal, log: () => undefined });
roomkey.policy.room("*", roomsClaim);
roomkey.serveRooms();
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
