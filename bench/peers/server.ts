// One S3 server on loopback with an empty bucket, and the counting proxy in front of it, which is what a peer sees.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";
import { CreateBucketCommand, paginateListObjectsV2 } from "@aws-sdk/client-s3";
import { z } from "zod";
import { startVersitygw } from "../../test/s3/versitygw.ts";
import { goBuild } from "./tools.ts";

const PROXY = fileURLToPath(new URL("./proxy", import.meta.url));
const BUCKET = "bench";

const PORTS = z.object({ s3: z.number(), counts: z.number() });
const TRAFFIC = z.object({ up: z.number(), down: z.number(), requests: z.record(z.string(), z.number()) });

export type Traffic = z.infer<typeof TRAFFIC>;

export interface Server {
  readonly endpoint: string;
  readonly bucket: string;
  /** What passed since the last time. */
  traffic(): Promise<Traffic>;
  /** Bytes of all objects. */
  stored(): Promise<number>;
  stop(): Promise<void>;
}

export async function startServer(): Promise<Server> {
  const program = await goBuild(PROXY, "proxy");
  const versitygw = await startVersitygw();
  const client = versitygw.client();
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  // It ends when its input does, so that it does not outlive this process, however that ends.
  const proxy = spawn(program, [new URL(versitygw.endpoint).host], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(proxy, "exit");
  const [line] = await once(createInterface(proxy.stdout), "line");
  const ports = PORTS.parse(JSON.parse(line));
  return {
    endpoint: `http://127.0.0.1:${ports.s3}`,
    bucket: BUCKET,
    async traffic() {
      const answer = await fetch(`http://127.0.0.1:${ports.counts}`);
      return TRAFFIC.parse(await answer.json());
    },
    async stored() {
      let bytes = 0;
      for await (const { Contents = [] } of paginateListObjectsV2({ client }, { Bucket: BUCKET })) for (const { Size = 0 } of Contents) bytes += Size;
      return bytes;
    },
    async stop() {
      client.destroy();
      proxy.stdin.end();
      await ended;
      await versitygw.stop();
    },
  };
}
