// Takes batches from an ordered queue. Messages of a group are appended together, in their order, exactly once: without
// a producer of its own, a batch has the queue and the group for its producer, and SQS's number of the message, which
// grows within a group, for its sequence.
//
// Within a group nothing passes a message that failed. Were a later one appended first, the earlier, delivered again,
// would be taken for a repetition, for its sequence is the smaller one, and would be lost though no one was told (I3). So
// with the first that comes again, all behind it come again. A message that can never succeed is set aside first; only
// when the dead letters have it do those behind it go on.

import { createHash } from "node:crypto";
import { type Ingest, ingest, type IngestTable } from "../../lib/jobs/ingest.ts";
import { callError } from "../../lib/model/errors.ts";
import type { Mutation } from "../../lib/model/mutation.ts";
import { parseTarget } from "../../lib/model/names.ts";
import { shardOf } from "../../lib/model/table.ts";
import { type BodyBatch, parseBatchBody } from "../../lib/ndjson/batch-body.ts";
import type { World } from "../../lib/ports/world.ts";
import { batchReply, type DeadLetters, QUEUE_EVENT, type QueueRecord, setAside } from "../runtime/queue.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import type { Instruments } from "../runtime/telemetry.ts";

export interface IngestQueueDeps extends Instruments {
  readonly world: World;
  readonly deadLetters: DeadLetters;
  /** When the queue with this ARN was made. */
  readonly queueMadeAt: (arn: string) => Promise<string>;
}

interface ParsedMessage {
  readonly record: QueueRecord;
  readonly batch: BodyBatch;
}

export function ingestQueueHandler(deps: IngestQueueDeps) {
  const door = ingest(deps.world);
  const births = new Map<string, string>();
  return lambdaHandler(deps, QUEUE_EVENT, async ({ Records }) => {
    const groups = Map.groupBy(Records, ({ attributes }) => attributes.MessageGroupId ?? "");
    const failed = await Promise.all([...groups].map(([group, records]) => takeGroup(deps, { door, births, group, records })));
    return batchReply(failed.flat());
  });
}

interface GroupRequest {
  readonly door: Ingest;
  /** By ARN, when a queue was made. */
  readonly births: Map<string, string>;
  readonly group: string;
  /** In their order. */
  readonly records: readonly QueueRecord[];
}

/** The messages that are to come again: none, or all from one on. */
async function takeGroup(deps: IngestQueueDeps, request: GroupRequest): Promise<readonly QueueRecord[]> {
  const { records } = request;
  const parsed: ParsedMessage[] = [];
  let opened: IngestTable | undefined;
  // Parsed to the end of the group, or to the first that is to come again.
  let end = 0;
  for (const record of records) {
    try {
      opened ??= await openGroup(request.door, request.group);
      parsed.push({ record, batch: await parseMessage(deps, request, opened, record) });
    } catch (error) {
      if (!(await setAside(deps, record, error))) break;
    }
    end += 1;
  }
  const again = opened === undefined || parsed.length === 0 ? [] : await appendGroup(deps, opened, parsed);
  return [...again, ...records.slice(end)];
}

async function appendGroup(deps: IngestQueueDeps, opened: IngestTable, parsed: readonly ParsedMessage[]): Promise<readonly QueueRecord[]> {
  try {
    await opened.append(parsed.map(({ batch }) => batch));
    return [];
  } catch (error) {
    // None is known to be durable. In their order: what lies behind one that comes again must not go before it.
    for (const [place, { record }] of parsed.entries()) {
      if (!(await setAside(deps, record, error))) return parsed.slice(place).map((message) => message.record);
    }
    return [];
  }
}

/** @throws {TidemarkError} `call` where the group names no table, or no shard that it has */
async function openGroup(door: Ingest, group: string): Promise<IngestTable> {
  const { table, shard } = parseTarget(group);
  const opened = await door.open(table);
  const { shards } = opened.table;
  if (shard !== undefined && shard >= shards) throw callError("unknown-shard", `table ${table} has no shard ${shard}: its shards are 0 to ${shards - 1}`);
  return opened;
}

async function parseMessage(deps: IngestQueueDeps, request: GroupRequest, { table }: IngestTable, record: QueueRecord): Promise<BodyBatch> {
  const [batch] = parseBatchBody(Buffer.from(record.body), { codec: table.codec, many: false });
  const { shard } = parseTarget(request.group);
  if (shard !== undefined) checkShard(batch.mutations, { table: table.name, shard, shards: table.shards });
  if (batch.mark !== undefined) return batch;
  const { SequenceNumber } = record.attributes;
  if (SequenceNumber === undefined) throw callError("unordered-queue", "the message has no sequence number: only an ordered (FIFO) queue gives one");
  return { ...batch, mark: { producer: await producerOf(deps, request, record), sequence: BigInt(SequenceNumber) } };
}

function checkShard(
  mutations: readonly Mutation[],
  { table, shard, shards }: { readonly table: string; readonly shard: number; readonly shards: number },
): void {
  for (const [place, { key }] of mutations.entries()) {
    const right = shardOf(key, shards);
    if (right === shard) continue;
    throw callError("wrong-shard", `mutation ${place + 1} belongs to shard ${right}, not to ${shard}: send it in the message group ${table}/${right}`);
  }
}

const PRODUCER_DIGITS = 32;

/** A queue made anew under its name counts from the beginning: it is another producer. */
async function producerOf({ queueMadeAt }: IngestQueueDeps, { births, group }: GroupRequest, { eventSourceARN }: QueueRecord): Promise<string> {
  const madeAt = births.get(eventSourceARN) ?? (await queueMadeAt(eventSourceARN));
  births.set(eventSourceARN, madeAt);
  const digest = createHash("sha256").update(`${eventSourceARN}\n${madeAt}\n${group}`).digest("hex");
  return `sqs-${digest.slice(0, PRODUCER_DIGITS)}`;
}
