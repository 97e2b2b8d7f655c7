// Loaded before the suite's own programs (node --require). Every name leads to this machine, since
// an edge serves sites by host name and not by address; and its origin listens on loopback only.
'use strict'

const dns = require('dns')
const net = require('net')

const ADDRESS = '127.0.0.1'

dns.lookup = (name, options, callback) => {
  const done = typeof options === 'function' ? options : callback
  const all = typeof options === 'object' && options !== null && options.all
  process.nextTick(() => {
    if (all) done(null, [{ address: ADDRESS, family: 4 }])
    else done(null, ADDRESS, 4)
  })
}

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, { port: Number(port), host: ADDRESS }, ...rest)
}
