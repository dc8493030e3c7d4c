// A file of {"op","key","value"} lines as a change stream, cut into batches as `tidemark append` cuts it. What the changes
// amount to is told by a model that shares no code with the engine: a Map, JSON.parse and RFC 7396's own pseudocode.

import { createReadStream } from "node:fs";
import { access } from "node:fs/promises";
import { createInterface } from "node:readline";
import { type InputBatch, readBatches } from "../lib/ndjson/batches.ts";
import { callError } from "../lib/model/errors.ts";
import type { ChangeStream, Step } from "./change-stream.ts";

const BATCH_LINES_MAX = 1_000;

/** @throws {TidemarkError} `call` for a file that cannot be read, or a line that is not understood: before anything is appended */
export async function ndjsonFile(path: string, subject = `the changes in ${path}`): Promise<ChangeStream> {
  await access(path).catch((error: unknown) => {
    throw callError("no-file", `${path} cannot be read: name a file of {"op","key","value"} lines`, error);
  });
  const lastLines: number[] = [];
  for await (const batch of batchesOf(path)) lastLines.push(batch.lastLine);
  if (lastLines.length === 0) throw callError("empty-file", `${path} has no line: nothing is to be done`);
  const model = modelOf(path);
  return {
    subject,
    unit: "batches",
    witness: "a model in plain JavaScript",
    producer: "ndjson",
    steps: lastLines.length,
    read: () => readSteps(path),
    stateAfter: (place) => model.after(lastLines[place - 1]),
    notes: () => [],
  };
}

function batchesOf(path: string): AsyncGenerator<InputBatch> {
  return readBatches(createReadStream(path), { codec: "json", linesMax: BATCH_LINES_MAX });
}

async function* readSteps(path: string): AsyncGenerator<Step> {
  let place = 0;
  for await (const { firstLine, lastLine, mutations } of batchesOf(path)) {
    yield { place: ++place, label: `lines ${firstLine}-${lastLine}`, mutations };
  }
}

/** Goes on from where it was asked last, or from the file's start where it is asked for an earlier line. */
function modelOf(path: string): { after(line: number): Promise<ReadonlyMap<string, unknown>> } {
  let state = new Map<string, unknown>();
  let line = 0;
  let lines: AsyncIterator<string> | undefined;
  return {
    async after(lastLine) {
      if (lines === undefined || line > lastLine) {
        state = new Map();
        line = 0;
        lines = createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
      }
      while (line < lastLine) {
        const next = await lines.next();
        if (next.done === true) break;
        line++;
        if (next.value.trim() !== "") applyLine(state, JSON.parse(next.value));
      }
      return state;
    },
  };
}

interface Line {
  readonly op?: "put" | "delete" | "patch";
  readonly key?: string;
  readonly k?: string;
  readonly value?: unknown;
  readonly v?: unknown;
}

function applyLine(state: Map<string, unknown>, { op = "put", k = "", key = k, v, value = v }: Line): void {
  if (op === "delete") state.delete(key);
  else state.set(key, op === "put" ? value : mergePatch(state.get(key), value));
}

/** RFC 7396, section 2. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map(Object.entries(isObject(target) ? target : {}));
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name);
    else merged.set(name, mergePatch(merged.get(name), value));
  }
  return Object.fromEntries(merged);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
