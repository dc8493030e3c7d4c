// A checkpoint store in one DynamoDB table: hash key `partition`, range key `sort`, both texts, and a sparse global
// index `dirty` (hash key `dirty`, range key `partition`).
//
// A change of one item is one plain write, at half the price of a transaction. The SDK repeats requests by itself: a
// plain write that it sent twice and that was refused may have been refused by its own first sending. That is a write
// without an answer, so it is told as "retry". Transactions bear a token by which DynamoDB knows a repetition again.
//
// DynamoDB refuses a write of an item that a transaction under way names, and of two transactions that name one item, if only to
// check it, the second. Parts that are stored at the same moment, each with a check of the one lease, meet so all the time. What is
// refused so had no effect, and the SDK does not repeat it: it is sent again here.

import { setTimeout as pause } from "node:timers/promises";
import {
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  type TransactWriteItem,
  TransactWriteItemsCommand,
  TransactionCanceledException,
  TransactionConflictException,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { callError, isTidemarkError, TidemarkError } from "../../model/errors.ts";
import { DYNAMODB_ITEM_BYTES_MAX, DYNAMODB_PAGE_ITEMS_MAX } from "../../model/limits.ts";
import type { CheckpointStore, ItemChange, ItemKey, WriteOutcome } from "../../ports/checkpoint-store.ts";
import { compareByBytes } from "../byte-order.ts";
import { checkChanges, checkItemKey, DIRTY, PARTITION, SORT } from "../item-changes.ts";
import { awsAttempts, awsFault, orAwsFault } from "./errors.ts";
import { ExpressionCompiler, marshalItem, marshalKey, unmarshalItem, type Values } from "./expressions.ts";

/** Name of the sparse index. */
export const DIRTY_INDEX = "dirty";

const LOSER = { ReturnValuesOnConditionCheckFailure: "ALL_OLD" } as const;
const WRITING = "dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem and dynamodb:ConditionCheckItem";
const WRITTEN: WriteOutcome = { kind: "written" };

/** How often a write is sent that meets others; the pauses between are random, and may be twice as long each time. */
const MEETINGS_MAX = 12;
const PAUSE_MS = 20;
const PAUSE_MS_MAX = 1_000;

export interface DynamodbCheckpointStoreOptions {
  readonly table: string;
  /** How often a write is sent that meets others. Default: MEETINGS_MAX. */
  readonly meetingsMax?: number;
}

export function dynamodbCheckpointStore(client: DynamoDBClient, { table, meetingsMax = MEETINGS_MAX }: DynamodbCheckpointStoreOptions): CheckpointStore {
  const resource = `DynamoDB table ${JSON.stringify(table)}`;
  const TableName = table;

  async function writeOne(change: Exclude<ItemChange, { check: true }>): Promise<WriteOutcome> {
    const { Put, Update, Delete } = transactItem(change, TableName);
    try {
      if (Put !== undefined) await client.send(new PutItemCommand(Put));
      if (Update !== undefined) await client.send(new UpdateItemCommand(Update));
      if (Delete !== undefined) await client.send(new DeleteItemCommand(Delete));
      return WRITTEN;
    } catch (error) {
      if (isTooLarge(error)) throw itemTooLarge([change], error);
      if (!(error instanceof ConditionalCheckFailedException)) throw error;
      if (awsAttempts(error) > 1) throw unknownEffect(resource, error);
      return refused(0, error.Item);
    }
  }

  async function writeTogether(changes: readonly ItemChange[]): Promise<WriteOutcome> {
    // A check of nothing is no part of a transaction; places are kept, for the outcome counts changes.
    const places = [...changes.keys()].filter((place) => !isEmptyCheck(changes[place]));
    if (places.length === 0) return WRITTEN;
    try {
      await client.send(new TransactWriteItemsCommand({ TransactItems: places.map((place) => transactItem(changes[place], TableName)) }));
      return WRITTEN;
    } catch (error) {
      if (isTooLarge(error)) throw itemTooLarge(changes, error);
      if (!(error instanceof TransactionCanceledException)) throw error;
      return cancelled(error, { changes, places, resource });
    }
  }

  return {
    async get(key) {
      checkItemKey(key);
      const { Item } = await orAwsFault(
        resource,
        () => client.send(new GetItemCommand({ TableName, Key: marshalKey(key), ConsistentRead: true })),
        "dynamodb:GetItem",
      );
      return Item === undefined ? undefined : unmarshalItem(Item);
    },

    async query({ partition, sortPrefix = "", after, limit = DYNAMODB_PAGE_ITEMS_MAX, descending = false }) {
      const start = startOf(sortPrefix, after, descending);
      if (start === "behindAll") return { items: [] };
      const compiler = new ExpressionCompiler();
      const inPartition = `${compiler.name(PARTITION)} = ${compiler.value(partition)}`;
      const withPrefix = sortPrefix === "" ? "" : ` AND begins_with(${compiler.name(SORT)}, ${compiler.value(sortPrefix)})`;
      const page = await orAwsFault(
        resource,
        () =>
          client.send(
            new QueryCommand({
              TableName,
              KeyConditionExpression: inPartition + withPrefix,
              ConsistentRead: true,
              ScanIndexForward: !descending,
              Limit: limit,
              ...compiler.aliases(),
              ...(start === "afterItem" && after !== undefined && { ExclusiveStartKey: marshalKey({ partition, sort: after }) }),
            }),
          ),
        "dynamodb:Query",
      );
      const next = page.LastEvaluatedKey?.[SORT]?.S;
      return { items: (page.Items ?? []).map(unmarshalItem), ...(next !== undefined && { next }) };
    },

    async queryDirty({ value, after, limit = DYNAMODB_PAGE_ITEMS_MAX }) {
      const compiler = new ExpressionCompiler();
      const page = await orAwsFault(
        resource,
        () =>
          client.send(
            new QueryCommand({
              TableName,
              IndexName: DIRTY_INDEX,
              KeyConditionExpression: `${compiler.name(DIRTY)} = ${compiler.value(value)}`,
              Limit: limit,
              ...compiler.aliases(),
              ...(after !== undefined && { ExclusiveStartKey: { ...marshalKey(after), [DIRTY]: { S: value } } }),
            }),
          ),
        "dynamodb:Query on its index dirty",
      );
      const last = page.LastEvaluatedKey;
      return { keys: (page.Items ?? []).map(keyOf), ...(last !== undefined && { next: keyOf(last) }) };
    },

    async write(changes) {
      checkChanges(changes);
      const [first] = changes;
      const isPlain = changes.length === 1 && !("check" in first);
      const send = (): Promise<WriteOutcome> => (isPlain ? writeOne(first) : writeTogether(changes));
      return orAwsFault(resource, () => pastOthers(send, meetingsMax), WRITING);
    },
  };
}

async function pastOthers(send: () => Promise<WriteOutcome>, meetingsMax: number): Promise<WriteOutcome> {
  for (let meeting = 1; ; meeting++) {
    try {
      return await send();
    } catch (error) {
      if (meeting >= meetingsMax || !metOthers(error)) throw error;
      await pause(Math.random() * Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** meeting));
    }
  }
}

/** Of a write that the SDK had repeated only the last sending is known to have had no effect. */
function metOthers(error: unknown): boolean {
  const refusal = isTidemarkError(error) && error.code === CONFLICT ? error.cause : error;
  return (refusal instanceof TransactionCanceledException || refusal instanceof TransactionConflictException) && awsAttempts(refusal) === 1;
}

/**
 * A key condition has room for the prefix or for a bound, not for both, so `after` goes as a start key, which DynamoDB
 * takes only if it lies where the prefix is. `beforeAll`: it lies before, and says nothing.
 */
function startOf(prefix: string, after: string | undefined, descending: boolean): "beforeAll" | "afterItem" | "behindAll" {
  if (after === undefined) return "beforeAll";
  if (after.startsWith(prefix) && after !== "") return "afterItem";
  const isBefore = compareByBytes(after, prefix) <= 0;
  return isBefore === descending ? "behindAll" : "beforeAll";
}

function keyOf(values: Values): ItemKey {
  return unmarshalItem(values).key;
}

function isEmptyCheck(change: ItemChange): boolean {
  return "check" in change && change.when.length === 0;
}

/** The part of a transaction that a change is; what a plain write sends is the same. */
function transactItem(change: ItemChange, TableName: string): TransactWriteItem {
  const compiler = new ExpressionCompiler();
  const Key = marshalKey(change.item);
  const condition = compiler.conditions(change.when);
  const when = condition === undefined ? {} : { ConditionExpression: condition, ...LOSER };
  if ("put" in change) return { Put: { TableName, Item: marshalItem(change.item, change.put), ...when, ...compiler.aliases() } };
  if ("set" in change) {
    const UpdateExpression = compiler.update(change.set, change.remove ?? []);
    return { Update: { TableName, Key, UpdateExpression, ...when, ...compiler.aliases() } };
  }
  if ("delete" in change) return { Delete: { TableName, Key, ...when, ...compiler.aliases() } };
  return { ConditionCheck: { TableName, Key, ConditionExpression: condition, ...LOSER, ...compiler.aliases() } };
}

/**
 * The first reason that is one decides: a condition that failed is a refusal, but behind a conflict with another
 * transaction, or throttling, it is unknown whether an earlier condition would have failed.
 */
function cancelled(
  error: TransactionCanceledException,
  { changes, places, resource }: { readonly changes: readonly ItemChange[]; readonly places: readonly number[]; readonly resource: string },
): WriteOutcome {
  const reasons = error.CancellationReasons ?? [];
  const first = reasons.findIndex(({ Code }) => Code !== undefined && Code !== "None");
  if (first < 0) throw awsFault(error, resource);
  const { Code = "", Item, Message } = reasons[first];
  if (Code === "ConditionalCheckFailed") return refused(places[first], Item);
  if (PASSING_REASONS.has(Code)) {
    throw new TidemarkError("retry", CONFLICT, `${resource}: another write or throttling came in between (${Code}); call again`, {
      cause: error,
    });
  }
  if (Code === "ValidationError" && TOO_LARGE.test(Message ?? "")) throw itemTooLarge([changes[places[first]]], error);
  throw new TidemarkError("bug", "refused-request", `${resource}: the transaction was refused (${Code}: ${Message})`, { cause: error });
}

const CONFLICT = "transaction-conflict";

/** "Item size has exceeded …" of a put, "Item size to update has exceeded …" of a set. */
const TOO_LARGE = /^Item size .*exceeded/;

const PASSING_REASONS = new Set(["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "DuplicateItem"]);

function refused(at: number, values: Values | undefined): WriteOutcome {
  const isThere = values !== undefined && Object.keys(values).length > 0;
  return { kind: "refused", at, ...(isThere && { item: unmarshalItem(values) }) };
}

/** A transaction that is refused before it is tried does not say for which item. */
function itemTooLarge(changes: readonly ItemChange[], cause: unknown): TidemarkError {
  const places = changes.map(({ item }) => `${item.partition} ${item.sort}`).join(", ");
  return callError("item-too-large", `an item would be too large (${places}): at most ${DYNAMODB_ITEM_BYTES_MAX} bytes are allowed`, cause);
}

function isTooLarge(error: unknown): boolean {
  return error instanceof Error && error.name === "ValidationException" && TOO_LARGE.test(error.message);
}

function unknownEffect(resource: string, cause: unknown): TidemarkError {
  return new TidemarkError(
    "retry",
    "unknown-effect",
    `${resource}: a write was sent again after a lost reply and then refused, perhaps by itself; read, and call again`,
    { cause },
  );
}
