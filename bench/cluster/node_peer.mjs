// Socket.IO on Node.js with its Redis adapter: the same handlers as nodes.py. node node_peer.mjs REDIS_URL
import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const publisher = createClient({ url: process.argv[2] });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, { adapter: createAdapter(publisher, subscriber), perMessageDeflate: false });
const data = { text: 'hello world', from: 'user', padding: 'x'.repeat(150) };

io.on('connection', (socket) => {
  socket.on('join', (room, done) => {
    socket.join(room);
    done();
  });
  socket.on('go', async (room, bursts, size, pause, done) => {
    for (let burst = 0; burst < bursts; burst++) {
      for (let n = 0; n < size; n++) io.to(room).emit('said', data);
      await new Promise((resolve) => setTimeout(resolve, pause * 1000));
    }
    done();
  });
});
http.listen(0, '127.0.0.1', () => console.log(http.address().port));
