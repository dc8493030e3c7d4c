// The functions' environment, parsed once. infra/functions.ts sets it; a variable that lacks is named with its remedy.

import { z } from "zod";

const NON_EMPTY = z.string().min(1);

const ENVIRONMENT = z.object({
  TIDEMARK_BUCKET: NON_EMPTY,
  TIDEMARK_PREFIX: z
    .string()
    .regex(/^$|\/$/, "must be empty or end with a slash")
    .default(""),
  /** Name of the DynamoDB table. */
  TIDEMARK_TABLE: NON_EMPTY,
  /** Dimension of the metrics. */
  TIDEMARK_PIPELINE: NON_EMPTY,
  TIDEMARK_SNAPSHOT_QUEUE: z.url().optional(),
  TIDEMARK_CLEANUP_QUEUE: z.url().optional(),
  TIDEMARK_DEAD_LETTER_QUEUE: z.url().optional(),
  /** Deliveries after which a message goes to the dead letters, as the queue's redrive policy has it. */
  TIDEMARK_RECEIVES_MAX: z.coerce.number().int().min(1).default(5),
  TIDEMARK_EVENT_BUS: NON_EMPTY.optional(),
});

export type Environment = z.infer<typeof ENVIRONMENT>;

/** @throws {Error} naming every variable that is missing or wrong; Lambda then fails the function's start. */
export function readEnvironment(variables: Readonly<Record<string, string | undefined>>): Environment {
  const parsed = ENVIRONMENT.safeParse(variables);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new Error(`The function's environment is wrong: ${faults.join("; ")}. SnapshotPipeline sets it: deploy again.`);
}

/** A variable that only some functions have. */
export function needed(value: string | undefined, name: string): string {
  if (value !== undefined) return value;
  throw new Error(`The function's environment lacks ${name}. SnapshotPipeline sets it: deploy again.`);
}
