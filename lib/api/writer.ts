// A program's writer: changes in, outcomes out. Every batch is numbered, so that a batch that had to be sent twice applies once (I3).
//
// A caller that has numbers of its own (a stream's sequence, a commit's place) hands them in, and may repeat a batch after
// a restart. Without them the writer counts under a name that no other writer has; then only its own repetitions apply once.

import { tableWriter } from "../jobs/append.ts";
import { utf8 } from "../model/bytes.ts";
import { callError, isTidemarkError, type TidemarkError } from "../model/errors.ts";
import { checkJson } from "../model/json.ts";
import { PUT_ATTEMPTS_MAX } from "../model/limits.ts";
import type { Mutation } from "../model/mutation.ts";
import type { Index } from "../model/position.ts";
import type { Table } from "../model/table.ts";
import type { World } from "../ports/world.ts";
import { type Codec, jsonBytes } from "./codec.ts";

/** put: the key has this value now. delete: the key is gone. patch: an RFC 7396 merge patch, for tables of JSON. */
export type Change<Value> =
  | { readonly kind: "put"; readonly key: string; readonly value: Value }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "patch"; readonly key: string; readonly value: unknown };

/**
 * `appended`: durable, with its first and last index in its shard and its time (ms since 1970). `sealed`: the shard was
 * restored or made anew; open the table again. `forgotten`: sent so late that its producer is no longer known; read the state.
 */
export type ChangeOutcome =
  | { readonly kind: "appended"; readonly shard: number; readonly first: Index; readonly last: Index; readonly timeMs: number }
  | { readonly kind: "sealed"; readonly shard: number }
  | { readonly kind: "forgotten"; readonly shard: number };

export interface WriterOptions {
  /** Names who writes, 1 to 128 bytes of text (95 if the writer does the counting). Default: "writer", for who has no sequences of its own. */
  readonly producer?: string;
  /** How long a batch waits for company in one redo file, in ms; 0, the default, does not wait. */
  readonly lingerMs?: number;
}

export interface AppendOptions {
  /** The batch's number in the order of its producer, which must be named, at most 192 bits: a batch with a number that was passed is not applied again. */
  readonly sequence?: bigint;
}

/**
 * Every call settles once its changes are durable, and repeats by itself what got no answer.
 * They throw TidemarkError: `call` for what cannot be written; any other kind: the batch may have been appended. So it may where the
 * store refuses its caller (as "no-credentials" and "no-access"), for an earlier sending may have got through.
 */
export interface Writer<Value> {
  put(key: string, value: Value): Promise<ChangeOutcome>;
  delete(key: string): Promise<ChangeOutcome>;
  patch(key: string, value: unknown): Promise<ChangeOutcome>;
  /** All or nothing in each shard that a key falls to; one outcome for each of those. */
  append(changes: readonly Change<Value>[], options?: AppendOptions): Promise<readonly ChangeOutcome[]>;
  /** Settles when all that waits is settled; nothing is taken any more, and what gets no answer now is not repeated. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const DEFAULT_PRODUCER = "writer";
const RUN_DIGITS = 32;

export function openWriter<Value>(world: World, table: Table, codec: Codec<Value>, { producer: named, lingerMs = 0 }: WriterOptions): Writer<Value> {
  const inner = tableWriter(world, table, { lingerMs });
  const producer = named ?? DEFAULT_PRODUCER;
  let run = newRun();

  async function append(changes: readonly Change<Value>[], { sequence }: AppendOptions = {}): Promise<readonly ChangeOutcome[]> {
    // Under the name that all others have too, one's first batch would be taken for a repetition of another's.
    if (sequence !== undefined && named === undefined)
      throw callError("bad-producer", "a sequence is a batch's number in its producer's order: name the producer when the writer is made");
    const mutations = changes.map((change) => mutationOf(change, codec));
    const mine = run;
    const mark = sequence === undefined ? { producer: mine.producer, sequence: ++mine.counted } : { producer, sequence };
    let unanswered: TidemarkError | undefined;
    for (let attempt = 1; ; attempt++) {
      try {
        const outcomes = await inner.append({ mutations, mark });
        return outcomes.map(({ shard, outcome }) => ({ shard, ...outcome }));
      } catch (error) {
        const fault = isTidemarkError(error) ? error : undefined;
        // It is no longer sent again, and may be in the log all the same.
        if (unanswered !== undefined && fault?.code === "closed-writer") throw unanswered;
        if (fault?.kind === "retry" && attempt < PUT_ATTEMPTS_MAX) {
          unanswered = fault;
          continue;
        }
        // The writer takes no batch behind one in doubt, and this one will not come again: later ones go under another name. One that
        // the call itself is wrong about was not sent, as a rule.
        if (run === mine && fault?.kind !== "call") run = newRun();
        throw error;
      }
    }
  }

  async function one(change: Change<Value>): Promise<ChangeOutcome> {
    const [outcome] = await append([change]);
    return outcome;
  }

  function newRun(): { readonly producer: string; counted: bigint } {
    return { producer: `${producer}/${world.random.id(RUN_DIGITS)}`, counted: 0n };
  }

  return {
    put: (key, value) => one({ kind: "put", key, value }),
    delete: (key) => one({ kind: "delete", key }),
    patch: (key, value) => one({ kind: "patch", key, value }),
    append,
    close: () => inner.close(),
    [Symbol.asyncDispose]: () => inner.close(),
  };
}

function mutationOf<Value>(change: Change<Value>, codec: Codec<Value>): Mutation {
  const key = utf8(change.key, "the key");
  switch (change.kind) {
    case "put":
      return { kind: "put", key, value: checked(codec.encode(change.value), codec) };
    case "delete":
      return { kind: "delete", key };
    case "patch":
      if (codec.kind === "bytes") throw callError("patch-of-bytes", "the table's values are bytes, which cannot be patched: send a put");
      return { kind: "patch", key, value: checked(jsonBytes(change.value), codec) };
  }
}

/** What replay cannot patch, as it is nested too deeply, or a codec of the program's own made no JSON of it, would keep its shard from ever being recovered. */
function checked<Value>(value: Uint8Array, { kind }: Codec<Value>): Uint8Array {
  if (kind === "json") checkJson(value, "the value");
  return value;
}
