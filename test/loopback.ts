// Ports of this machine, for servers that tests play or start.

import { once } from "node:events";
import { createServer, type Server } from "node:net";

/** Has the server listen on loopback alone, and tells at which port. */
export async function listenAnywhere(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a server that listens has a port");
  return address.port;
}

/** Ports that were free at the same moment, and so are different. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(servers.map(listenAnywhere));
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}
