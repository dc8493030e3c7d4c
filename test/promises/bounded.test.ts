// I10 in whole processes: the most memory that each command takes of a shard, beside what it takes of one that fills what is kept in any case.
// The environment is that of the function that captures; what is held of a command is its peak, as the system counts it.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { SNAPSHOT_ENVIRONMENT } from "../../infra/runtime.ts";
import { MAIN, makePlace } from "../cli/tidemark.ts";

const MB = 1_000_000;
const FEW_MB = 60;
const MANY_MB = 260;
/** Half of the bytes that the larger one has more: who holds a shard, or its log, takes all of them. */
const GROWTH_MAX_MB = (MANY_MB - FEW_MB) / 2;
/** So much is changed behind the first capture, of either. */
const CHANGED_MB = 3;
const TIMEOUT_MS = 900_000;
/** Prints the process's peak, in kB, to stderr at its end. */
const TELL_PEAK = `data:text/javascript,process.on("exit",()=>console.error("\\npeak",process.resourceUsage().maxRSS))`;

type Line = (number: number) => string;

const SHAPES: Readonly<Record<string, Line>> = {
  "small records": (number) => putLine(`user/${number}`, 200),
  "large values": (number) => putLine(`document/${number}`, 4 * MB),
  "records that are changed again and again": (number) => putLine(`user/${number % 20_000}`, 200),
};

describe.each(Object.entries(SHAPES))("of %s", (_, line) => {
  test("I10 Bounded: appending, capturing, recovering and verifying take no more memory of a large shard", { timeout: TIMEOUT_MS }, async () => {
    const [few, many] = [await peaksOf(line, FEW_MB), await peaksOf(line, MANY_MB)];
    const grown = Object.keys(many).filter((command) => many[command] - few[command] > GROWTH_MAX_MB);
    expect(grown, `megabytes: ${JSON.stringify({ few, many })}`).toEqual([]);
  });
});

/** MB at most, by command. */
async function peaksOf(line: Line, megabytes: number): Promise<Readonly<Record<string, number>>> {
  const place = await makePlace();
  const peak = (words: readonly string[], input: Iterable<string> = []): Promise<number> => peakOf(place.directory, words, input);
  try {
    await peak(["init"]);
    await peak(["table", "create", "t"]);
    const append = await peak(["append", "t"], linesOf(line, megabytes * MB));
    const recoverByLog = await peak(["recover", "t"]);
    const capture = await peak(["snapshot", "t"]);
    await peak(["append", "t"], linesOf(line, CHANGED_MB * MB));
    const recover = await peak(["recover", "t"]);
    const captureOfChanges = await peak(["snapshot", "t"]);
    const verify = await peak(["verify", "t"]);
    return { append, "recover by the log": recoverByLog, capture, recover, "capture of changes": captureOfChanges, verify };
  } finally {
    await place.remove();
  }
}

/** What it prints goes nowhere. */
async function peakOf(cwd: string, words: readonly string[], input: Iterable<string>): Promise<number> {
  const env = { ...process.env, ...SNAPSHOT_ENVIRONMENT };
  const child = spawn(process.execPath, ["--import", TELL_PEAK, MAIN, ...words], { cwd, env, stdio: ["pipe", "ignore", "pipe"] });
  const [told, [code]] = await Promise.all([text(child.stderr), once(child, "close"), pipeline(Readable.from(input), child.stdin)]);
  expect(code, told).toBe(0);
  return Math.round((Number(/\npeak (\d+)/.exec(told)?.[1]) * 1_024) / MB);
}

function* linesOf(line: Line, bytes: number): Generator<string> {
  for (let number = 0, made = 0; made < bytes; number++) {
    const next = line(number);
    made += next.length;
    yield next;
  }
}

function putLine(key: string, valueBytes: number): string {
  return `${JSON.stringify({ key, value: randomText(valueBytes) })}\n`;
}

function randomText(bytes: number): string {
  return randomBytes(Math.ceil((bytes * 3) / 4))
    .toString("base64")
    .slice(0, bytes);
}
