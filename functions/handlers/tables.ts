// Makes and changes tables for CloudFormation, and ends a deployment whose bucket, prefix and DynamoDB table do not belong
// together. It waits for an answer, an hour long if none comes: so there is always one, also where the time runs out. A stack
// that is deleted, or a table that leaves the list, leaves the tables as they are.

import * as z from "zod/mini";
import { ensureTables } from "../../lib/jobs/ensure-tables.ts";
import { checkPair } from "../../lib/jobs/pair.ts";
import { callError, isTidemarkError, TidemarkError } from "../../lib/model/errors.ts";
import { SOURCES } from "../../lib/model/table.ts";
import type { StoreWorld } from "../../lib/ports/world.ts";
import { faultsOf, loggable } from "../runtime/faults.ts";
import type { Respond } from "../runtime/respond.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import type { Instruments } from "../runtime/telemetry.ts";

export interface TablesDeps extends Instruments {
  readonly world: StoreWorld;
  readonly respond: Respond;
}

const EVENT = z.object({
  RequestType: z.enum(["Create", "Update", "Delete"]),
  ResponseURL: z.url(),
  StackId: z.string(),
  RequestId: z.string(),
  LogicalResourceId: z.string(),
  PhysicalResourceId: z.optional(z.string()),
  ResourceProperties: z.unknown(),
});

type TablesEvent = z.infer<typeof EVENT>;

/** One JSON text, for CloudFormation makes texts of the numbers in properties. */
const PROPERTIES = z.object({ Tables: z.string() });

const whole = z.exactOptional(z.int());

const TABLES = z.array(
  z.strictObject({
    name: z.string(),
    shards: whole,
    codec: z.exactOptional(z.enum(["json", "bytes"])),
    source: z.exactOptional(z.enum(SOURCES)),
    captureLogPercent: whole,
    recoverWithinMs: whole,
    captureAfterMutations: whole,
    captureAfterMs: whole,
    capturesTogetherMax: whole,
    keepSnapshots: whole,
    keepForMs: whole,
    compactionOverhead: whole,
  }),
);

/** The answer has 4 KiB at most. */
const REASON_LENGTH_MAX = 1_000;

export function tablesHandler(deps: TablesDeps) {
  const { logger, respond } = deps;
  return lambdaHandler(deps, EVENT, async (event, { signal }) => {
    const { StackId, RequestId, LogicalResourceId, PhysicalResourceId = LogicalResourceId } = event;
    const result = await resultOf(deps, event, signal);
    await respond(event.ResponseURL, JSON.stringify({ ...result, StackId, RequestId, LogicalResourceId, PhysicalResourceId }));
    logger.info("answered", { status: result.Status });
  });
}

type Result = { readonly Status: "SUCCESS" } | { readonly Status: "FAILED"; readonly Reason: string };

async function resultOf(deps: TablesDeps, event: TablesEvent, signal: AbortSignal): Promise<Result> {
  try {
    if (event.RequestType !== "Delete") await Promise.race([ensure(deps, event.ResourceProperties), timeOut(signal)]);
    return { Status: "SUCCESS" };
  } catch (error) {
    deps.logger.error("the tables are not as they shall be", { fault: loggable(error) });
    const reason = isTidemarkError(error) ? error.message : "something went wrong; the function's log tells what";
    return { Status: "FAILED", Reason: reason.slice(0, REASON_LENGTH_MAX) };
  }
}

async function ensure({ world, logger }: TablesDeps, properties: unknown): Promise<void> {
  const parsed = PROPERTIES.safeParse(properties);
  if (!parsed.success) throw callError("malformed-properties", `the resource's properties are not as they must be: ${faultsOf(parsed.error)}`);
  const tables = TABLES.safeParse(parseJson(parsed.data.Tables));
  if (!tables.success) throw callError("malformed-properties", `the resource's tables are not as they must be: ${faultsOf(tables.error)}`);
  // The functions that follow would acknowledge appends beside a log that is not theirs.
  await checkPair(world);
  logger.info("tables", { tables: await ensureTables(world, tables.data) });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw callError("malformed-properties", "the resource's tables are not JSON", error);
  }
}

function timeOut(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(new TidemarkError("retry", "out-of-time", "the tables were not made in time: deploy again"));
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
  });
}
