// A stream of NDJSON as batches: an empty line ends one, else so many lines, else the bytes that a batch can have. The cuts
// are a function of the input and of --batch alone, so that a producer that sends its input again sends the same batches (I3).
//
// Hot: lines are parsed where they lie; only one that crosses two chunks is copied.

import { isUtf8 } from "node:buffer";
import { checkJson, skipSpace } from "../model/json.ts";
import { callError } from "../model/errors.ts";
import { BATCH_BYTES_MAX, VALUE_BYTES_MAX } from "../model/limits.ts";
import type { Mutation, ValueCodec } from "../model/mutation.ts";
import { parseMutation } from "./mutation-line.ts";

/** Lines are counted from 1, empty ones too. */
export interface InputBatch {
  readonly firstLine: number;
  readonly lastLine: number;
  readonly mutations: readonly Mutation[];
  /** Of keys and values. */
  readonly bytes: number;
}

export interface BatchOptions {
  readonly codec: ValueCodec;
  /** Lines of one batch, at most. */
  readonly linesMax: number;
}

/** Twice the largest value: room for it in base64, and for the rest of its line. */
const LINE_BYTES_MAX = 2 * VALUE_BYTES_MAX;

const LINE_FEED = 0x0a;

/** @throws {TidemarkError} `call`, naming the line; the batches before were yielded, nothing of the line's own was. */
export async function* readBatches(chunks: AsyncIterable<Buffer>, options: BatchOptions): AsyncGenerator<InputBatch> {
  const cutter = batchCutter(options);
  let carried: Buffer[] = [];
  let carriedBytes = 0;
  for await (const chunk of chunks) {
    const first = chunk.indexOf(LINE_FEED);
    if (first < 0) {
      carried.push(chunk);
      carriedBytes += chunk.length;
      if (carriedBytes > LINE_BYTES_MAX)
        throw callError("line-too-long", `line ${cutter.line + 1} has more than ${LINE_BYTES_MAX} bytes: one line is one mutation`);
      continue;
    }
    const behindLast = chunk.lastIndexOf(LINE_FEED) + 1;
    let from = 0;
    if (carriedBytes > 0) {
      from = first + 1;
      yield* cutter.lines(Buffer.concat([...carried, chunk.subarray(0, from)]));
    }
    if (from < behindLast) yield* cutter.lines(chunk.subarray(from, behindLast));
    carried = behindLast < chunk.length ? [chunk.subarray(behindLast)] : [];
    carriedBytes = chunk.length - behindLast;
  }
  if (carriedBytes > 0) yield* cutter.lines(Buffer.concat([...carried, Buffer.of(LINE_FEED)]));
  yield* cutter.end();
}

interface BatchCutter {
  /** Lines taken so far. */
  readonly line: number;
  /** Takes whole lines, each with its line feed. */
  lines(block: Buffer): Generator<InputBatch>;
  end(): Generator<InputBatch>;
}

function batchCutter({ codec, linesMax }: BatchOptions): BatchCutter {
  let line = 0;
  let firstLine = 1;
  let lastLine = 0;
  let mutations: Mutation[] = [];
  let bytes = 0;

  function* end(): Generator<InputBatch> {
    if (mutations.length > 0) yield { firstLine, lastLine, mutations, bytes };
    mutations = [];
    bytes = 0;
  }

  return {
    get line() {
      return line;
    },
    *lines(block) {
      const wellFormed = isUtf8(block);
      for (let from = 0; from < block.length; ) {
        const to = block.indexOf(LINE_FEED, from);
        line += 1;
        if (skipSpace(block, from, to) === to) {
          yield* end();
        } else {
          if (!wellFormed) checkJson(block.subarray(from, to), `line ${line}`);
          const mutation = parseMutation(block, from, to, line, codec);
          const added = mutation.key.length + (mutation.kind === "delete" ? 0 : mutation.value.length);
          if (bytes + added > BATCH_BYTES_MAX) yield* end();
          if (mutations.length === 0) firstLine = line;
          lastLine = line;
          mutations.push(mutation);
          bytes += added;
          if (mutations.length === linesMax) yield* end();
        }
        from = to + 1;
      }
    },
    end,
  };
}
