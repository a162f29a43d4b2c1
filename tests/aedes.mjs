// aedes.mjs PACKAGES PORT WEBSOCKET_PORT STORE: an aedes on 127.0.0.1:PORT, and over WebSockets on the other port, from the
// npm packages in the folder PACKAGES, that keeps sessions and retained messages in the folder STORE. Ends at SIGTERM,
// when all of it is stored.
import { createServer as createHttpServer } from 'node:http'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { pathToFileURL } from 'node:url'

const [packages, port, websocketPort, store] = process.argv.slice(2)
const { resolve } = createRequire(pathToFileURL(`${packages}/`))
const load = (name) => import(pathToFileURL(resolve(name)))

const { Aedes } = await load('aedes')
const { ClassicLevel } = await load('classic-level')
const { default: aedesPersistenceLevel } = await load('aedes-persistence-level')

const database = new ClassicLevel(store)
const broker = await Aedes.createBroker({ persistence: aedesPersistenceLevel(database) })
const server = createServer(broker.handle)
server.listen(Number(port), '127.0.0.1')

const { WebSocketServer, createWebSocketStream } = (await load('ws')).default
const webServer = createHttpServer()
const handleProtocols = (protocols) => protocols.has('mqtt') && 'mqtt'
new WebSocketServer({ server: webServer, path: '/mqtt', handleProtocols }).on('connection', (socket, request) => {
  broker.handle(createWebSocketStream(socket), request)
})
webServer.listen(Number(websocketPort), '127.0.0.1')

process.on('SIGTERM', () => {
  server.close()
  webServer.close()
  broker.close(async () => {
    await database.close()
    process.exit(0)
  })
})
