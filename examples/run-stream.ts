// The main job: changes stream in, are captured and cleaned up behind as they come, and earlier states are recovered and
// compared with what a witness says they were.
//
// The stream is cut into as many sections as states are to be compared. Behind each section the planner is asked once, and
// then the state in the middle of the section is recovered: a past one, behind which the log has gone on and newer
// snapshots may stand. At the end all those states are asked for again: what retention still keeps must come out byte for
// byte the same, whatever it is rebuilt from now; the rest must be refused.

import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { type OpenTable, recover, runRound } from "../lib/index.ts";
import { tableWriter } from "../lib/jobs/append.ts";
import { callError, isTidemarkError } from "../lib/model/errors.ts";
import type { Mutation } from "../lib/model/mutation.ts";
import type { Telemetry } from "../lib/ports/telemetry.ts";
import type { ChangeStream } from "./change-stream.ts";

/** Batches that are on their way at once: those that wait together go into one redo file. */
const IN_FLIGHT_MAX = 64;
const CAPTURES_WANTED = 10;
const DIFFERENCES_SHOWN = 5;

/** How often a table of the stream is captured. Steps change at least one thing each as a rule, so there will be more captures than wanted. */
export function captureAfter({ steps }: ChangeStream): number {
  return Math.max(1, Math.floor(steps / CAPTURES_WANTED));
}

export interface Tally {
  batches: number;
  mutations: number;
  redoFiles: number;
  redoBytes: number;
  snapshots: number;
  snapshotBytes: number;
  expiredRedoFiles: number;
  expiredSnapshots: number;
}

/** Counts what is told. */
export function counting(): { readonly telemetry: Telemetry; readonly tally: Tally } {
  const tally: Tally = { batches: 0, mutations: 0, redoFiles: 0, redoBytes: 0, snapshots: 0, snapshotBytes: 0, expiredRedoFiles: 0, expiredSnapshots: 0 };
  const telemetry: Telemetry = {
    report(event) {
      if (event.kind === "appended") {
        tally.batches += event.batches;
        tally.mutations += event.mutations;
        tally.redoFiles++;
        tally.redoBytes += event.bytes;
      } else if (event.kind === "captured") {
        tally.snapshots++;
        tally.snapshotBytes += event.bytes;
      } else if (event.kind === "cleaned") {
        tally.expiredRedoFiles += event.redoFiles;
        tally.expiredSnapshots += event.snapshots;
      }
    },
  };
  return { telemetry, tally };
}

/** One recovered state against the witness. */
export interface Comparison {
  readonly place: number;
  readonly label: string;
  readonly index: number;
  /** Index of the snapshot that it was rebuilt from (0: none), and the mutations replayed behind it. */
  readonly from: number;
  readonly replayed: number;
  readonly records: number;
  /** SHA-256 over all keys and values. */
  readonly digest: string;
  /** Empty where both say the same. */
  readonly differences: readonly string[];
}

/** Behind one section. */
export interface Section {
  readonly place: number;
  readonly index: number;
  readonly tally: Tally;
  readonly comparison: Comparison;
}

export interface Outcome {
  /** Steps that an earlier run had appended. */
  readonly resumedAfter: number;
  readonly sections: readonly Section[];
  /** At the end: the newest state, and each state of before that is still kept. */
  readonly final: readonly Comparison[];
  /** States of before that are no longer kept: their log has expired. */
  readonly refused: readonly number[];
  readonly differences: number;
}

export interface RunOptions {
  /** Lives on one shard. */
  readonly table: OpenTable<unknown>;
  readonly stream: ChangeStream;
  readonly tally: Tally;
  readonly comparisons: number;
  readonly onSection: (section: Section) => void;
}

interface Border {
  readonly place: number;
  readonly label: string;
  /** Mutations of the stream so far; so it is the index behind this step, since nothing else writes to the table. */
  readonly index: number;
}

export async function runStream({ table, stream, tally, comparisons, onSection }: RunOptions): Promise<Outcome> {
  const { name } = table.settings;
  const resumedAfter = Number((await table.lastSequence(stream.producer)) ?? 0n);
  if (resumedAfter > stream.steps) throw otherStream(name);
  const plan = sectionsOf(resumedAfter, stream.steps, comparisons);
  const middles = new Set(plan.map(({ middle }) => middle));
  const writer = tableWriter(table.world, table.settings);
  const sections: Section[] = [];
  const asked: { readonly border: Border; readonly digest: string }[] = [];
  const passed = new Map<number, Border>();
  let inFlight: Promise<void>[] = [];
  let last: Border = { place: 0, label: "", index: 0 };

  for await (const { place, label, mutations } of stream.read()) {
    last = { place, label, index: last.index + mutations.length };
    if (middles.has(place)) passed.set(place, last);
    if (place === resumedAfter) await checkSame(table, stream, last);
    if (place <= resumedAfter) continue;
    if (mutations.length > 0) {
      const sent = append(last, mutations);
      // A failure is met where the batches in flight are awaited, even if it comes before.
      sent.catch(() => undefined);
      inFlight.push(sent);
    }
    const { middle, end } = plan[sections.length];
    if (inFlight.length >= IN_FLIGHT_MAX || place === end) {
      await Promise.all(inFlight);
      inFlight = [];
    }
    if (place < end) continue;
    const round = await runRound(table.world);
    if (round.failures.length > 0) throw callError("round-failed", `table ${name}: ${round.failures[0].error}`);
    const border = passed.get(middle) ?? last;
    const comparison = await compare(table, stream, border);
    asked.push({ border, digest: comparison.digest });
    const section = { place, index: last.index, tally: { ...tally }, comparison };
    sections.push(section);
    onSection(section);
  }
  await writer.close();
  await runRound(table.world, { cleanAll: true });
  return { resumedAfter, sections, ...(await askAgain(table, stream, last, asked, sections)) };

  async function append({ place, label, index }: Border, mutations: readonly Mutation[]): Promise<void> {
    const batch = { mutations, mark: { producer: stream.producer, sequence: BigInt(place) } };
    const [{ outcome }] = await writer.append(batch).catch((error: unknown) => {
      throw isTidemarkError(error) && error.kind === "call" ? callError(error.code, `${label}: ${error.message}`, error) : error;
    });
    if (outcome.kind !== "appended") throw callError("not-appended", `${label} was not appended: ${outcome.kind}`);
    if (outcome.last !== index) throw otherStream(name);
  }
}

async function askAgain(
  table: OpenTable<unknown>,
  stream: ChangeStream,
  last: Border,
  asked: readonly { readonly border: Border; readonly digest: string }[],
  sections: readonly Section[],
): Promise<Pick<Outcome, "final" | "refused" | "differences">> {
  const final: Comparison[] = [];
  const refused: number[] = [];
  for (const { border, digest } of asked) {
    try {
      const again = await compareWith(table, border, digest);
      final.push(again);
    } catch (error) {
      if (!isTidemarkError(error) || error.code !== "out-of-range") throw error;
      refused.push(border.place);
    }
  }
  final.push(await compare(table, stream, last));
  const all = [...sections.map(({ comparison }) => comparison), ...final];
  return { final, refused, differences: all.filter(({ differences }) => differences.length > 0).length };
}

/** Sections as even as they can be; `middle` is the step whose state is compared, the one before for a section of one step. */
function sectionsOf(from: number, to: number, wanted: number): readonly { readonly middle: number; readonly end: number }[] {
  const count = Math.min(wanted, to - from);
  const borderAt = (section: number): number => from + Math.round((section * (to - from)) / count);
  return Array.from({ length: count }, (_, section) => {
    const end = borderAt(section + 1);
    return { middle: Math.max(1, Math.floor((borderAt(section) + end) / 2)), end };
  });
}

async function compare(table: OpenTable<unknown>, stream: ChangeStream, border: Border): Promise<Comparison> {
  const truth = await stream.stateAfter(border.place);
  const differences: string[] = [];
  let records = 0;
  const recovered = await read(table, border, (key, value) => {
    records++;
    if (!truth.has(key)) differences.push(`${key} is recovered, but ${stream.witness} does not have it`);
    else if (!isDeepStrictEqual(JSON.parse(value), truth.get(key)))
      differences.push(`${key} is ${value}, but ${stream.witness} has ${JSON.stringify(truth.get(key))}`);
  });
  if (records !== truth.size) differences.push(`${records} records are recovered, ${stream.witness} has ${truth.size}`);
  return { ...recovered, differences: differences.slice(0, DIFFERENCES_SHOWN) };
}

/** The state once more, against what it was when the witness was asked. */
async function compareWith(table: OpenTable<unknown>, border: Border, digest: string): Promise<Comparison> {
  const recovered = await read(table, border, () => undefined);
  return { ...recovered, differences: recovered.digest === digest ? [] : [`${border.label} is recovered with other content than before`] };
}

async function read(
  table: OpenTable<unknown>,
  { place, label, index }: Border,
  onRecord: (key: string, value: string) => void,
): Promise<Omit<Comparison, "differences">> {
  await using view = await recover(table, { at: index });
  const [shard] = view.shards;
  const hash = createHash("sha256");
  let records = 0;
  for await (const rows of shard.rows()) {
    for (let row = 0; row < rows.count; row++) {
      const key = rows.keys.toString("utf8", row === 0 ? 0 : rows.keyEnds[row - 1], rows.keyEnds[row]);
      const value = rows.values.toString("utf8", row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]);
      hash.update(`${JSON.stringify(key)}:${value}\n`);
      onRecord(key, value);
      records++;
    }
  }
  return { place, label, index: shard.index, from: shard.from, replayed: shard.replayed, records, digest: hash.digest("hex") };
}

function otherStream(name: string): Error {
  return callError("other-stream", `table ${name} of this store holds other changes than this stream has: name another store`);
}

/** Refuses to go on behind a step of some other stream. */
async function checkSame(table: OpenTable<unknown>, stream: ChangeStream, border: Border): Promise<void> {
  try {
    if ((await compare(table, stream, border)).differences.length === 0) return;
  } catch (error) {
    // An index that the store does not have is another stream's.
    if (!isTidemarkError(error) || error.code !== "out-of-range") throw error;
  }
  throw otherStream(table.settings.name);
}
