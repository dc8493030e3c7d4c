// The deployed stack as the tests see it: its outputs, the store behind it, and waiting with a limit.

import { inject } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { dynamodbCheckpointStore } from "../../../lib/adapters/aws/checkpoint-store.ts";
import { awsClients } from "../../../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../../../lib/adapters/aws/object-store.ts";
import { systemClock } from "../../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../../lib/adapters/local/random.ts";
import type { World } from "../../../lib/ports/world.ts";

/** A value that the stack tells. */
export function output(name: string): string {
  const value = inject("localstack").outputs[name];
  if (value === undefined) throw new Error(`the stack has no output ${name}`);
  return value;
}

/** The store URL of the stack for the CLI, with LocalStack's endpoint. */
export function storeUrl(): string {
  return `${output("StoreUrl")}&endpoint=${encodeURIComponent(inject("localstack").endpoint)}`;
}

const { endpoint, region } = inject("localstack");
/** The project's own clients, for its adapters. */
const adapterClients = awsClients({ endpoint, region, credentials: { accessKeyId: "test", secretAccessKey: "test" } });

export function deployedWorld(): World {
  return {
    objects: s3ObjectStore(adapterClients.s3, { bucket: output("BucketName") }),
    checkpoints: dynamodbCheckpointStore(adapterClients.dynamodb, { table: output("TableName") }),
    clock: systemClock(),
    random: cryptoRandom(),
    telemetry: { report: () => undefined },
  };
}

const POLL_MS = 500;

/** Asks until there is an answer, and gives it. */
export async function until<T>(what: string, limitMs: number, ask: () => Promise<T | undefined>): Promise<T> {
  for (const startedAt = performance.now(); performance.now() - startedAt < limitMs; await sleep(POLL_MS)) {
    const answer = await ask();
    if (answer !== undefined) return answer;
  }
  throw new Error(`${what} did not come within ${limitMs / 1_000} s`);
}
