// Refuses props that could not work, before anything is made, with what to write instead. CloudFormation would find some
// of them after minutes, and others never.

import { type Duration, Token } from "aws-cdk-lib";
import { callError } from "../lib/model/errors.ts";
import { checkTableName } from "../lib/model/names.ts";
import { checkTable } from "../lib/model/table.ts";
import { functionName } from "./functions.ts";
import { isHost } from "./influxdb.ts";
import type { InfluxdbSource, PipelineTable, SnapshotPipelineProps } from "./props.ts";
import { sourceTableSettings, tableSettings } from "./tables.ts";

/** Lambda's limits. */
const TIMEOUT_SECONDS_MAX = 900;
const MEMORY_MIB_MIN = 128;
const MEMORY_MIB_MAX = 10_240;
const FUNCTION_NAME_PREFIX = /^[a-zA-Z0-9_-]{1,48}$/;
/** Of an event source; SQS asks for 2 at least. */
const CONCURRENCY_MIN = 2;
const CONCURRENCY_MAX = 1_000;

const MINUTE_SECONDS = 60;
const PLAN_SECONDS_MAX = 3_600;
/** The alarms on a stalled cleanup and an overdue backup look back two and a half periods, and CloudWatch looks back seven days. */
const CLEANUP_SECONDS_MAX = 2 * 86_400;
const BACKUP_SECONDS_MAX = 2 * 86_400;
const PORT_MAX = 65_535;
/** Of a function's name. */
const FUNCTION_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** @throws {TidemarkError} `call`, naming the prop and what it may be */
export function checkProps(props: SnapshotPipelineProps): void {
  checkPrefix(props.prefix);
  checkTables(props.tables ?? []);
  checkSources(props);
  checkRate("plan.every", props.plan?.every, PLAN_SECONDS_MAX);
  checkRate("cleanup.every", props.cleanup?.every, CLEANUP_SECONDS_MAX);
  for (const name of ["snapshot", "cleanup", "ingest"] as const) checkFunction(name, props[name]);
  for (const name of ["snapshot", "cleanup"] as const) {
    checkWhole(`${name}.maxConcurrency`, props[name]?.maxConcurrency, CONCURRENCY_MIN, CONCURRENCY_MAX);
  }
  checkWhole("ingest.reservedConcurrency", props.ingest?.reservedConcurrency, 1, Number.MAX_SAFE_INTEGER);
  const { functionNamePrefix, events, table, bucket, objectLock, vpc } = props;
  if (functionNamePrefix !== undefined && !Token.isUnresolved(functionNamePrefix) && !FUNCTION_NAME_PREFIX.test(functionNamePrefix)) {
    throw wrongProp("functionNamePrefix", functionNamePrefix, `use 1 to 48 letters, digits, "-" and "_"`);
  }
  if (typeof events === "object" && table !== undefined && table.tableStreamArn === undefined) {
    throw wrongProp(
      "events",
      "given",
      "the table that is given has no stream: give it one with new and old images, name it where the table is imported, or leave events away",
    );
  }
  if (objectLock !== undefined && bucket !== undefined) {
    throw wrongProp("objectLock", "given", "it is a setting of the pipeline's own bucket: set it on the bucket that is given, or leave it away");
  }
  if (vpc === undefined && (props.vpcSubnets !== undefined || props.securityGroups !== undefined)) {
    throw wrongProp("vpcSubnets or securityGroups", "given", "they need vpc: give it, or leave them away");
  }
}

function checkPrefix(prefix: string | undefined): void {
  if (prefix === undefined || prefix === "" || Token.isUnresolved(prefix)) return;
  if (!prefix.endsWith("/") || prefix.startsWith("/") || prefix.includes("//")) {
    throw wrongProp("prefix", prefix, `end it with one slash and start it without one, as in "states/"`);
  }
  // IAM would take them for wildcards and variables in the names of objects.
  if (!/^[a-zA-Z0-9!_.'()/-]+$/.test(prefix)) throw wrongProp("prefix", prefix, `use letters, digits and the signs !_.'()/-`);
}

function checkTables(tables: readonly PipelineTable[]): void {
  for (const table of tables) checkTable({ ...tableSettings(table), createdAtMs: 0, state: "live" });
  const names = tables.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined) throw wrongProp("tables", twice, "it is there twice: name each table once");
}

function checkSources(props: SnapshotPipelineProps): void {
  const { influxdb = [], tables = [] } = props;
  for (const [at, source] of influxdb.entries()) {
    const { name, host, port, every } = source;
    checkTableName(name);
    const of = (prop: string): string => `influxdb ${name}: ${prop}`;
    if (influxdb.findIndex((other) => other.name === name) < at) throw wrongProp("influxdb", name, "it is there twice: name each source once");
    if (tables.some((table) => table.name === name))
      throw wrongProp("influxdb", name, "a table has that name, and a source makes one of its own: choose another");
    if (!isHost(host)) throw wrongProp(of("host"), host, "write the server's name or IP address alone, and its port as port");
    checkWhole(of("port"), port, 1, PORT_MAX);
    checkRate(of("every"), every, BACKUP_SECONDS_MAX);
    checkTable({ ...sourceTableSettings(source), createdAtMs: 0, state: "live" });
    checkSelection(source, of("selection"));
    checkFunction(`influxdb ${name}`, source);
    checkWhole(of("silentFor in ms"), source.silentFor?.toMilliseconds({ integral: false }), 1_000, TIMEOUT_SECONDS_MAX * 1_000);
    if (source.vpc === undefined && props.vpc === undefined && (source.vpcSubnets !== undefined || source.securityGroups !== undefined)) {
      throw wrongProp(of("vpcSubnets or securityGroups"), "given", "they need vpc: give it, or leave them away");
    }
    checkFunctionName(props.functionNamePrefix, name);
  }
}

function checkSelection({ selection }: InfluxdbSource, prop: string): void {
  if (selection === undefined) return;
  if (selection.database === "" || selection.policy === "") throw wrongProp(prop, selection, "write the name of a database, and of a policy of it or none");
}

function checkFunctionName(prefix: string | undefined, source: string): void {
  if (prefix === undefined || Token.isUnresolved(prefix)) return;
  const name = functionName(prefix, { name: "influxdb", of: source });
  if (FUNCTION_NAME.test(name)) return;
  const remedy = `the function of influxdb ${source} would be ${name}: choose shorter names, without dots, or leave functionNamePrefix away`;
  throw wrongProp("functionNamePrefix", prefix, remedy);
}

function checkFunction(name: string, props: { readonly timeout?: Duration; readonly memorySize?: number } | undefined): void {
  const seconds = props?.timeout?.toSeconds({ integral: false });
  checkWhole(`${name}.timeout in seconds`, seconds, 1, TIMEOUT_SECONDS_MAX);
  checkWhole(`${name}.memorySize in MiB`, props?.memorySize, MEMORY_MIB_MIN, MEMORY_MIB_MAX);
}

/** EventBridge Scheduler counts in whole minutes. */
function checkRate(name: string, every: Duration | undefined, secondsMax: number): void {
  const seconds = every?.toSeconds({ integral: false });
  if (seconds === undefined) return;
  if (seconds % MINUTE_SECONDS === 0 && seconds >= MINUTE_SECONDS && seconds <= secondsMax) return;
  throw wrongProp(name, `${seconds} seconds`, `use whole minutes from 1 to ${secondsMax / MINUTE_SECONDS}`);
}

function checkWhole(name: string, value: number | undefined, min: number, max: number): void {
  if (value === undefined || Token.isUnresolved(value)) return;
  if (!Number.isSafeInteger(value) || value < min || value > max) throw wrongProp(name, value, `use a whole number from ${min} to ${max}`);
}

function wrongProp(name: string, value: unknown, remedy: string): Error {
  return callError("bad-prop", `SnapshotPipeline: ${name} is ${JSON.stringify(value)}: ${remedy}`);
}
