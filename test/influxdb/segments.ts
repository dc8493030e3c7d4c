// A network in front of a server: what a client sends arrives in segments, one after the other, as on Ethernet. On a loopback tens of
// thousands of bytes come at once.

import { once } from "node:events";
import { connect, createServer } from "node:net";

const SEGMENT_BYTES = 1_448;

export interface Segments extends AsyncDisposable {
  /** "127.0.0.1:PORT". */
  readonly address: string;
}

export async function startSegments(upstream: string): Promise<Segments> {
  const [host, port] = upstream.split(":");
  const network = createServer({ allowHalfOpen: true, noDelay: true }, async (client) => {
    const server = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    for (const side of [client, server]) side.on("error", () => undefined);
    server.pipe(client);
    for await (const chunk of client as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += SEGMENT_BYTES) {
        server.write(chunk.subarray(at, at + SEGMENT_BYTES));
        await new Promise(setImmediate);
      }
    }
    server.end();
  });
  network.listen(0, "127.0.0.1");
  await once(network, "listening");
  const bound = network.address();
  return {
    address: `127.0.0.1:${typeof bound === "object" && bound !== null ? bound.port : 0}`,
    async [Symbol.asyncDispose]() {
      await new Promise((closed) => network.close(closed));
    },
  };
}
