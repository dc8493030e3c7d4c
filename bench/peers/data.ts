// The records that every peer gets, and the content that every state must have.

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { cached } from "../../test/cache.ts";
import { exec } from "./tools.ts";

const GENERATOR = fileURLToPath(new URL("./records.py", import.meta.url));
const READ_BYTES = 1024 * 1024;

/** A changed share of the records, 1 %: `uniform-1` in the first round, and so on. */
export type ChangeSet = `${"uniform" | "range" | "new"}-${1 | 2}`;

/** A state in a few digits: SHA-256, its first half, of `key TAB value LF` in key order. */
export interface Content {
  readonly rows: number;
  readonly sha256: string;
}

export interface Data {
  readonly count: number;
  /** NDJSON, `{"k":…,"v":…}` in key order. */
  readonly base: string;
  changes(set: ChangeSet): string;
  /** Bytes of keys and values. */
  logicalBytes(set: ChangeSet): Promise<number>;
  /** The content of the base with these changes, one after the other. */
  content(...sets: readonly ChangeSet[]): Promise<Content>;
  /** Writes that state as NDJSON. */
  write(path: string, ...sets: readonly ChangeSet[]): Promise<void>;
}

export async function makeData(count: number): Promise<Data> {
  const hash = createHash("sha256").update(readFileSync(GENERATOR)).digest("hex").slice(0, 8);
  const folder = await cached(`peers-records-${count}-${hash}`, async (making) => {
    console.error(`making ${count} records (only once)…`);
    await exec("python3", GENERATOR, making, String(count));
  });
  const base = join(folder, "base.ndjson");
  const changes = (set: ChangeSet): string => join(folder, `${set}.ndjson`);

  async function* state(sets: readonly ChangeSet[]): AsyncGenerator<KeyValue> {
    const changed = new Map<string, string>();
    for (const set of sets) for await (const { key, value } of recordsOf(changes(set))) changed.set(key, value);
    for await (const { key, value } of recordsOf(base)) {
      yield { key, value: changed.get(key) ?? value };
      changed.delete(key);
    }
    // New keys lie behind the last of the base.
    for (const [key, value] of changed) yield { key, value };
  }

  return {
    count,
    base,
    changes,
    async logicalBytes(set) {
      let bytes = 0;
      for await (const { key, value } of recordsOf(changes(set))) bytes += key.length + value.length;
      return bytes;
    },
    content: (...sets) => contentOf(state(sets)),
    async write(path, ...sets) {
      const file = createWriteStream(path, { encoding: "latin1", highWaterMark: READ_BYTES });
      for await (const { key, value } of state(sets)) if (!file.write(`{"k":"${key}","v":${value}}\n`)) await once(file, "drain");
      file.end();
      await once(file, "close");
    },
  };
}

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

export async function contentOf(records: AsyncIterable<KeyValue> | Iterable<KeyValue>): Promise<Content> {
  const hash = createHash("sha256");
  let rows = 0;
  for await (const { key, value } of records) {
    hash.update(`${key}\t${value}\n`);
    rows++;
  }
  return { rows, sha256: hash.digest("hex").slice(0, 32) };
}

const KEY = `{"k":"`;
const VALUE = `","v":`;

/** The records of a file of these data. */
export async function* recordsOf(path: string): AsyncGenerator<KeyValue> {
  for await (const line of linesOf(path)) {
    const middle = line.indexOf(VALUE);
    yield { key: line.slice(KEY.length, middle), value: line.slice(middle + VALUE.length, -1) };
  }
}

/** All data are ASCII. */
export async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of createReadStream(path, { encoding: "latin1", highWaterMark: READ_BYTES })) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") throw new Error(`${path} ends within a line`);
}

const CONTENT = z.object({ rows: z.number(), sha256: z.string() });

/** As a peer's program prints it. */
export function parseContent(printed: string): Content {
  return CONTENT.parse(JSON.parse(printed));
}
