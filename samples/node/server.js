'use strict';
// A web app on one dependency, ms, that tells which instance answers.
const http = require('node:http');
const ms = require('ms');

const index = process.env.CF_INSTANCE_INDEX ?? '?';
const version = process.env.VERSION ?? 'none';
const begun = Date.now();
const shown = /^(CF_|VCAP_|PORT|HOME|MEMORY_LIMIT|TMPDIR|USER|VERSION)/;

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://app');
  const answer = (status, type, text) => {
    response.writeHead(status, { 'content-type': type });
    response.end(text);
    console.log(`${request.method} ${request.url} ${status}`);
  };
  switch (url.pathname) {
    case '/':
      return answer(200, 'text/plain; charset=utf-8', `hello from node, instance ${index}, version ${version}, up for ${ms(Date.now() - begun)}\n`);
    case '/env':
      return answer(200, 'application/json', JSON.stringify(Object.fromEntries(Object.entries(process.env).filter(([name]) => shown.test(name)))));
    case '/slow': {
      const seconds = Math.min(Number(url.searchParams.get('seconds') ?? 1) || 0, 60);
      return setTimeout(() => answer(200, 'text/plain', `slept ${seconds}\n`), seconds * 1000);
    }
    case '/crash':
      console.log('crashing as asked');
      return process.exit(1);
    default:
      return answer(404, 'text/plain', 'nothing here\n');
  }
});

// Requests under way end before the process does; connections without one are closed.
function stop() {
  server.close(() => {
    console.log('stopped');
    process.exit(0);
  });
  server.closeIdleConnections();
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

const port = Number(process.env.PORT ?? 8080);
server.listen(port, '0.0.0.0', () => console.log(`listening on ${port}`));
