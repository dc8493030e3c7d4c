// A network in front of a server: what a client sends arrives in segments, one after the other, as on Ethernet. On a loopback tens of
// thousands of bytes come at once.

import { connect, createServer, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { listenAnywhere } from "../loopback.ts";

const SEGMENT_BYTES = 1_448;

export interface Segments extends AsyncDisposable {
  /** "127.0.0.1:PORT". */
  readonly address: string;
}

export async function startSegments(upstream: string): Promise<Segments> {
  const [host, port] = upstream.split(":");
  const network = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const server = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    for (const side of [client, server]) side.on("error", () => undefined);
    server.pipe(client);
    // A side that breaks off is told by the other.
    void passOn(client, server).catch(() => server.destroy());
  });
  return {
    address: `127.0.0.1:${await listenAnywhere(network)}`,
    async [Symbol.asyncDispose]() {
      await new Promise((closed) => network.close(closed));
    },
  };
}

async function passOn(client: AsyncIterable<Buffer>, server: Socket): Promise<void> {
  for await (const chunk of client) {
    for (let at = 0; at < chunk.length; at += SEGMENT_BYTES) {
      server.write(chunk.subarray(at, at + SEGMENT_BYTES));
      await nextTurn();
    }
  }
  server.end();
}
