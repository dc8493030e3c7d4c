// The InfluxDB server that the deployed stack backs up: there before the stack is, for the stack is told where it is.

import { startInfluxd } from "../influxdb/influxd.ts";
import { missing } from "../influxdb/obtain.ts";
import type { LocalStack } from "./behaviour.ts";

/** Its databases are there, and empty. */
export type InfluxdbHere = { readonly kind: "runs"; readonly snapshotter: string; readonly http: string } | { readonly kind: "lacks"; readonly why: string };

export const DATABASES = ["metrics", "slow"] as const;

export async function startInfluxdb({ how }: Pick<LocalStack, "how">): Promise<{ readonly here: InfluxdbHere; stop(): Promise<void> }> {
  const why = how === "container" ? "functions in containers do not reach a server on this host's loopback" : await missing();
  if (why !== undefined) return { here: { kind: "lacks", why }, stop: async () => undefined };
  const server = await startInfluxd();
  await server.query(DATABASES.map((name) => `CREATE DATABASE ${name}`).join("; "));
  return { here: { kind: "runs", snapshotter: server.snapshotter, http: server.http }, stop: async () => await server[Symbol.asyncDispose]() };
}
