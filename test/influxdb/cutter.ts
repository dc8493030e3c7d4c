// A proxy that cuts what a client sends, for updates of shards that are stopped on their way.

import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { listenAnywhere } from "../loopback.ts";

const SHARD_UPDATE = 7;

interface Cut {
  /** `lost`: the server gets an end there, the client sees the server's. `reset`: both are reset. */
  readonly kind: "lost" | "reset";
  /** So many bytes of what the client sends come through; below 0, all but so many. */
  readonly place: number;
}

/** A proxy that cuts what clients send to update shards. */
export async function startCutter(upstream: string, cut: (nthUpdate: number) => Cut | undefined) {
  const [host, port] = upstream.split(":");
  const sockets = new Set<Socket>();
  let updates = 0;
  let isHealed = false;
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    const server = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    for (const one of [socket, server]) {
      sockets.add(one);
      one.on("error", () => undefined).once("close", () => sockets.delete(one));
    }
    socket.once("data", (first: Buffer) => {
      if (first[1] === SHARD_UPDATE) updates += 1;
      const chosen = first[1] === SHARD_UPDATE && !isHealed ? cut(updates) : undefined;
      if (chosen === undefined) {
        server.write(first);
        socket.pipe(server);
        server.pipe(socket);
        return;
      }
      const chunks = [first];
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.once("end", () => {
        const bytes = Buffer.concat(chunks);
        server.end(bytes.subarray(0, chosen.place < 0 ? bytes.length + chosen.place : chosen.place));
        if (chosen.kind === "reset") server.once("end", () => socket.resetAndDestroy());
        else server.pipe(socket);
        server.resume();
      });
    });
  });
  return {
    address: `127.0.0.1:${await listenAnywhere(listener)}`,
    heal: () => {
      isHealed = true;
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(listener, "close");
      listener.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
