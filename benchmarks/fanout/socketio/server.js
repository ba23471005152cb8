// Socket.IO as a server: WebSocket only, without compression, which is its fastest.
const http = require('http');
const net = require('net');
const { Server } = require('socket.io');

const [port, publish] = process.argv.slice(2).map(Number);
const server = http.createServer();
const io = new Server(server, {
  transports: ['websocket'],
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: 300000,
  serveClient: false,
  wsEngine: require('ws').WebSocketServer,
});
io.on('connection', (socket) => socket.join('bench'));
net
  .createServer((source) => {
    let rest = '';
    source.on('data', (part) => {
      const lines = (rest + part).split('\n');
      rest = lines.pop();
      for (const line of lines) io.to('bench').emit('m', JSON.parse(line));
    });
  })
  .listen(publish, '127.0.0.1');
server.listen({ port, host: '127.0.0.1', backlog: 4096 }, () => console.log('-'));
