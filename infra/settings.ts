// The settings of the app, from CDK's context (`-c NAME=VALUE`, or "context" in cdk.json). A wrong or unknown one ends
// the run with its name and what to write: a misspelt setting that is silently left out costs a deployment.

import { readFileSync } from "node:fs";
import { z } from "zod";
import { callError } from "../lib/model/errors.ts";

const LOG_DAYS = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653] as const;

const whole = (min: number, max: number) => {
  const error = `a whole number from ${min} to ${max}`;
  return z.coerce.number({ error }).int({ error }).min(min, { error }).max(max, { error });
};
const text = (error: string, pattern: RegExp) => z.string({ error }).regex(pattern, { error });
const yesOrNo = z.union([z.boolean(), z.enum(["true", "false"]).transform((word) => word === "true")], { error: "true or false" });

const TABLE = z.strictObject({
  name: z.string(),
  shards: z.number().optional(),
  codec: z.enum(["json", "bytes"]).optional(),
  captureLogShare: z.number().optional(),
  recoverWithinSeconds: z.number().optional(),
  captureEverySeconds: z.number().optional(),
  captureAfterMutations: z.number().optional(),
  capturesTogether: z.number().optional(),
  keepLast: z.number().optional(),
  keepForSeconds: z.number().optional(),
  compactionOverhead: z.number().optional(),
});

const idOf = (kind: "vpc" | "subnet" | "sg") => text(`an id such as ${kind}-0123456789abcdef0`, new RegExp(`^${kind}-[0-9a-f]{8,17}$`));

const SOURCE = z.strictObject({
  name: z.string(),
  host: z.string(),
  port: z.number().optional(),
  everyMinutes: z.number(),
  database: z.string().optional(),
  policy: z.string().optional(),
  keepLast: z.number().optional(),
  keepForSeconds: z.number().optional(),
  skipErrors: z.boolean().optional(),
  withoutUsers: z.boolean().optional(),
  vpcId: idOf("vpc").optional(),
  subnetIds: z.array(idOf("subnet")).optional(),
  securityGroupIds: z.array(idOf("sg")).optional(),
  timeoutSeconds: z.number().optional(),
  silentSeconds: z.number().optional(),
  memoryMb: z.number().optional(),
});

const SETTINGS = z.strictObject({
  stackName: text(`a letter, then letters, digits and "-", as in "Tidemark"`, /^[a-zA-Z][a-zA-Z0-9-]{0,127}$/).default("Tidemark"),
  prefix: text(`a prefix of keys that ends with a slash, as in "states/"`, /^[^/].*\/$/).optional(),
  tables: z.union([z.array(TABLE), z.string()]).default([]),
  influxdb: z.union([z.array(SOURCE), z.string()]).default([]),
  bucketName: text("a name for the bucket, 3 to 63 characters", /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/).optional(),
  tableName: text("a name for the DynamoDB table, 3 to 255 characters", /^[a-zA-Z0-9_.-]{3,255}$/).optional(),
  existingBucket: text("the name of a bucket that exists", /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/).optional(),
  existingTable: text("the ARN of a DynamoDB table that exists", /^arn:[^:]+:dynamodb:[^:]+:[0-9]{12}:table\/[a-zA-Z0-9_.-]{3,255}$/).optional(),
  existingTableStream: text("the ARN of that table's stream", /^arn:[^:]+:dynamodb:[^:]+:[0-9]{12}:table\/[^/]+\/stream\/.+$/).optional(),
  kms: text(`"new", "alias/NAME" or the ARN of a key`, /^(new|alias\/.+|arn:[^:]+:kms:[^:]+:[0-9]{12}:key\/.+)$/).optional(),
  objectLockDays: whole(1, 36_500).optional(),
  logRetentionDays: z.coerce
    .number()
    .pipe(z.literal([...LOG_DAYS], { error: `one of ${LOG_DAYS.join(", ")}` }))
    .default(30),
  logLevel: z.enum(["DEBUG", "INFO", "WARN", "ERROR"], { error: "DEBUG, INFO, WARN or ERROR" }).default("INFO"),
  tracing: yesOrNo.default(false),
  functionNamePrefix: text(`1 to 48 letters, digits, "-" and "_"`, /^[a-zA-Z0-9_-]{1,48}$/).optional(),
  planEveryMinutes: whole(1, 60).default(1),
  planReservedConcurrency: yesOrNo.default(true),
  snapshotTimeoutSeconds: whole(1, 900).default(900),
  snapshotMemoryMb: whole(128, 10_240).default(1_769),
  snapshotConcurrency: whole(2, 1_000).default(10),
  cleanupEveryMinutes: whole(1, 2_880).default(1_440),
  cleanupTimeoutSeconds: whole(1, 900).default(900),
  ingestQueue: yesOrNo.default(true),
  events: yesOrNo.default(true),
  eventBusName: text("the name of an event bus of the account", /^[a-zA-Z0-9._/-]{1,256}$/).optional(),
  alarms: yesOrNo.default(true),
  alarmTopicArn: text("the ARN of an SNS topic", /^arn:[^:]+:sns:[^:]+:[0-9]{12}:.+$/).optional(),
  alarmEmail: z.email({ error: "an e-mail address" }).optional(),
  checkpointLagMinutes: whole(1, 1_440).default(15),
  dashboard: yesOrNo.default(false),
  bundles: z.string({ error: "the folder with the built functions" }).min(1, { error: "the folder with the built functions" }).optional(),
});

export type TableSetting = z.infer<typeof TABLE>;
export type SourceSetting = z.infer<typeof SOURCE>;
export type Settings = Omit<z.infer<typeof SETTINGS>, "tables" | "influxdb"> & {
  readonly tables: readonly TableSetting[];
  readonly influxdb: readonly SourceSetting[];
};

/** @throws {TidemarkError} `call` "bad-setting", naming the context key */
export function parseSettings(context: Readonly<Record<string, unknown>>): Settings {
  // CDK's own keys, and those of other tools, have a sign in them that ours never have.
  const own = Object.fromEntries(Object.entries(context).filter(([name]) => /^[a-zA-Z]+$/.test(name)));
  const parsed = SETTINGS.safeParse(own);
  if (!parsed.success) throw badSetting(parsed.error.issues[0], own);
  const settings = {
    ...parsed.data,
    tables: parseList(TABLE, parsed.data.tables, { setting: "tables", like: '[{"name":"players","shards":4}]' }),
    influxdb: parseList(SOURCE, parsed.data.influxdb, { setting: "influxdb", like: '[{"name":"metrics","host":"10.0.0.5","everyMinutes":60}]' }),
  };
  for (const source of settings.influxdb) checkSource(source);
  refuseTogether(settings, "bucketName", "existingBucket");
  // Cleanup believes the table: beside an empty one it takes every object of the bucket for what a deleted table left.
  needTogether(settings, "existingBucket", "existingTable");
  needTogether(settings, "bucketName", "tableName");
  refuseTogether(settings, "objectLockDays", "existingBucket");
  refuseTogether(settings, "alarmTopicArn", "alarmEmail");
  if (settings.existingTableStream !== undefined && settings.existingTable === undefined) {
    throw callError("bad-setting", "-c existingTableStream is given without existingTable: give both, or neither");
  }
  return settings;
}

interface ListSetting {
  readonly setting: "tables" | "influxdb";
  readonly like: string;
}

function parseList<Entry>(schema: z.ZodType<Entry>, given: readonly Entry[] | string, about: ListSetting): readonly Entry[] {
  if (typeof given !== "string") return given;
  const { setting, like } = about;
  const isText = given.trimStart().startsWith("[");
  const parsed = z.array(schema).safeParse(readJson(isText ? given : readList(given, about), isText ? `-c ${setting}` : given, like));
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  throw callError("bad-setting", `-c ${setting}: ${path.length === 0 ? "it" : path.join(".")}: ${message}: write a list such as ${like}`);
}

function readList(path: string, { setting, like }: ListSetting): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw callError(
      "bad-setting",
      `-c ${setting}=${path}: no such file, nor a JSON list: write -c ${setting}='${like}' or name a file with such a list`,
      error,
    );
  }
}

function readJson(json: string, where: string, like: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw callError("bad-setting", `${where} is not JSON: write a list such as ${like}`, error);
  }
}

function checkSource({ name, vpcId, subnetIds = [], securityGroupIds = [], database, policy }: SourceSetting): void {
  const isInVpc = vpcId !== undefined;
  if (isInVpc !== subnetIds.length > 0 || (!isInVpc && securityGroupIds.length > 0)) {
    throw callError("bad-setting", `-c influxdb: ${name}: vpcId and subnetIds belong together, and securityGroupIds to them: give them, or none`);
  }
  if (policy !== undefined && database === undefined) {
    throw callError("bad-setting", `-c influxdb: ${name}: policy is one of a database: give database, too`);
  }
}

function refuseTogether(settings: Settings, one: keyof Settings, other: keyof Settings): void {
  if (settings[one] === undefined || settings[other] === undefined) return;
  throw callError("bad-setting", `-c ${one} and -c ${other} are both given: leave one of them away`);
}

function needTogether(settings: Settings, one: keyof Settings, other: keyof Settings): void {
  if ((settings[one] === undefined) === (settings[other] === undefined)) return;
  throw callError("bad-setting", `-c ${one} and -c ${other} belong together: give both, or neither`);
}

function badSetting(issue: z.core.$ZodIssue, own: Readonly<Record<string, unknown>>): Error {
  if (issue.code === "unrecognized_keys") {
    const known = Object.keys(SETTINGS.shape).join(", ");
    return callError("bad-setting", `-c ${issue.keys[0]} is no setting: use one of ${known}`);
  }
  const [name] = issue.path.map(String);
  return callError("bad-setting", `-c ${name}=${JSON.stringify(own[name])} cannot be used: write ${issue.message}`);
}
