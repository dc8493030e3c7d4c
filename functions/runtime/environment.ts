// The functions' environment, parsed once. infra/ sets it; a variable that lacks is named with its remedy.

import * as z from "zod/mini";
import { isTableName } from "../../lib/model/names.ts";
import { parseJson } from "../../lib/model/parse-json.ts";
import { faultsOf } from "./faults.ts";

const nonEmpty = z.string().check(z.minLength(1));

const INFLUXDB = z.strictObject({
  /** Of the backup, and so of its table. */
  name: z.string().check(z.refine(isTableName, "is not a table name")),
  host: nonEmpty,
  port: z.int().check(z.gte(1), z.lte(65_535)),
  selection: z.exactOptional(z.strictObject({ database: z.exactOptional(nonEmpty), policy: z.exactOptional(nonEmpty) })),
  skipErrors: z.boolean(),
  withoutUsers: z.boolean(),
  /** How long the server may say nothing. */
  silentMs: z.exactOptional(z.int().check(z.gte(1))),
});

/** A server, and what is backed up of it. */
export type InfluxdbSource = z.infer<typeof INFLUXDB>;

const ENVIRONMENT = z.object({
  TIDEMARK_BUCKET: nonEmpty,
  TIDEMARK_PREFIX: z._default(z.string().check(z.regex(/^$|\/$/, "must be empty or end with a slash")), ""),
  /** Name of the DynamoDB table. */
  TIDEMARK_TABLE: nonEmpty,
  /** Dimension of the metrics. */
  TIDEMARK_PIPELINE: nonEmpty,
  TIDEMARK_SNAPSHOT_QUEUE: z.optional(z.url()),
  TIDEMARK_CLEANUP_QUEUE: z.optional(z.url()),
  TIDEMARK_BACKUP_QUEUE: z.optional(z.url()),
  TIDEMARK_DEAD_LETTER_QUEUE: z.optional(z.url()),
  /** Deliveries after which a message goes to the dead letters, as the queue's redrive policy has it. */
  TIDEMARK_RECEIVES_MAX: z._default(z.coerce.number().check(z.int(), z.gte(1)), 5),
  /** Name or ARN of the bus. */
  TIDEMARK_EVENT_BUS: z.optional(nonEmpty),
  /** The source that the function backs up, as JSON. */
  TIDEMARK_INFLUXDB: z.optional(z.pipe(z.string(), z.pipe(z.transform(parseJson), INFLUXDB))),
});

export type Environment = z.infer<typeof ENVIRONMENT>;

/** @throws {Error} naming every variable that is missing or wrong; Lambda then fails the function's start. */
export function readEnvironment(variables: Readonly<Record<string, string | undefined>>): Environment {
  const parsed = ENVIRONMENT.safeParse(variables);
  if (parsed.success) return parsed.data;
  throw new Error(`The function's environment is wrong: ${faultsOf(parsed.error)}. SnapshotPipeline sets it: deploy again.`);
}

/** A variable that only some functions have. */
export function needed<Name extends keyof Environment>(environment: Environment, name: Name): NonNullable<Environment[Name]> {
  const value = environment[name];
  if (value !== undefined && value !== null) return value;
  throw new Error(`The function's environment lacks ${name}. SnapshotPipeline sets it: deploy again.`);
}
