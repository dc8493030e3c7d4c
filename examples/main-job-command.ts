// The command behind `npm start`: reads its flags, picks stream and store, runs the job, and tells what happened.

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { json, openTable } from "../lib/index.ts";
import { local } from "../lib/local.ts";
import { callError, isTidemarkError } from "../lib/model/errors.ts";
import type { ChangeStream } from "./change-stream.ts";
import { gitHistory, isRepositoryTop } from "./git-history.ts";
import { ndjsonFile } from "./ndjson-file.ts";
import { type Comparison, captureAfter, counting, type Outcome, runStream, type Section, type Tally } from "./run-stream.ts";

const HELP = `Runs Tidemark's main job on a change stream: appends it, captures snapshots, lets the superseded log expire,
recovers earlier states and compares each with what a witness says it was.

  npm start                       this clone's git history (or examples/european-union.ndjson, where it has none)
  npm start -- --repo PATH        any git repository
  npm start -- FILE.ndjson        any changes: lines {"op":"put"|"delete"|"patch","key":…,"value":…}, batches end at an empty line

  --check N           how many states to compare while the stream comes in (default 20)
  --store file:PATH   where to keep it (default: a new temporary directory); a store of an earlier run goes on where it stopped
  --json              one JSON document instead of text
  --help              this text

Exit codes: 0 every comparison agrees; 1 one differs, or something broke; 2 the call is wrong.
`;

const ROOT = join(import.meta.dirname, "..");
const SAMPLE = join(import.meta.dirname, "european-union.ndjson");
const TABLE = "history";
const COMPARISONS_DEFAULT = 20;
const COMPARISONS_MAX = 10_000;

/** @returns the exit code */
export async function main(args: readonly string[]): Promise<number> {
  try {
    return await run(parse(args));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return isTidemarkError(error) && error.kind === "call" ? 2 : 1;
  }
}

interface Flags {
  readonly repo?: string | undefined;
  readonly file?: string | undefined;
  readonly store?: string | undefined;
  readonly comparisons: number;
  readonly json: boolean;
  readonly help: boolean;
}

function parse(args: readonly string[]): Flags {
  const { values, positionals } = parseFlags(args);
  const comparisons = Number(values.check ?? COMPARISONS_DEFAULT);
  if (!Number.isSafeInteger(comparisons) || comparisons < 1 || comparisons > COMPARISONS_MAX) {
    throw callError("bad-flag", `--check is ${JSON.stringify(values.check)}: use a whole number from 1 to ${COMPARISONS_MAX}`);
  }
  if (positionals.length > 1 || (positionals.length === 1 && values.repo !== undefined))
    throw callError("bad-flag", "name one stream: --repo PATH, or one FILE.ndjson");
  if (values.store !== undefined && !/^file:.+/.test(values.store)) throw callError("bad-flag", `--store is ${JSON.stringify(values.store)}: write file:PATH`);
  return { repo: values.repo, file: positionals[0], store: values.store, comparisons, json: values.json === true, help: values.help === true };
}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        repo: { type: "string" },
        check: { type: "string" },
        store: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw callError("bad-flag", `${error instanceof Error ? error.message : String(error)} ("npm start -- --help" shows what there is)`, error);
  }
}

async function run(flags: Flags): Promise<number> {
  const tell = (text: string): void => void (flags.json || process.stdout.write(`${text}\n`));
  if (flags.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const startedAtMs = performance.now();
  const stream = await pickStream(flags);
  const directory = flags.store === undefined ? await mkdtemp(join(tmpdir(), "tidemark-")) : resolve(flags.store.slice("file:".length));
  const { telemetry, tally } = counting();
  await using table = await openTable({
    name: TABLE,
    codec: json<unknown>(),
    store: local({ directory, telemetry }),
    create: { captureAfterMutations: captureAfter(stream) },
  });
  tell(`${stream.subject}: ${count(stream.steps)} ${stream.unit}`);
  tell(`into table ${TABLE} of the store file:${directory}\n`);
  tell(row([stream.unit, "index", "redo files", "snapshots", "files expired", "recovered and compared"]));
  const outcome = await runStream({ table, stream, tally, comparisons: flags.comparisons, onSection: (section) => tell(sectionRow(section)) });
  const seconds = (performance.now() - startedAtMs) / 1_000;
  if (flags.json)
    process.stdout.write(
      `${JSON.stringify({ subject: stream.subject, witness: stream.witness, steps: stream.steps, store: `file:${directory}`, table: TABLE, ...tally, ...outcome, notes: stream.notes(), seconds })}\n`,
    );
  tell(summary({ stream, outcome, tally, seconds }));
  tell(whatNext(directory, outcome));
  return outcome.differences === 0 ? 0 : 1;
}

async function pickStream({ repo, file }: Flags): Promise<ChangeStream> {
  if (file !== undefined) return ndjsonFile(file);
  if (repo !== undefined) return gitHistory(resolve(repo));
  if (await isRepositoryTop(ROOT)) {
    const stream = await gitHistory(ROOT);
    // A clone of one commit has states, but no history.
    if (stream.steps > 1) return stream;
  }
  return ndjsonFile(SAMPLE, "the European Union's members, euro and Schengen area, 1958 to 2026 (this clone has no git history)");
}

function sectionRow({ place, index, tally, comparison }: Section): string {
  return row([count(place), count(index), count(tally.redoFiles), count(tally.snapshots), count(tally.expiredRedoFiles), describe(comparison)]);
}

function describe({ label, records, from, replayed, differences }: Comparison): string {
  const parts = [...(from > 0 ? [`snapshot at ${count(from)}`] : []), ...(replayed > 0 ? [`log of ${count(replayed)}`] : [])];
  const verdict = differences.length === 0 ? `${count(records)} records, all equal` : `DIFFERS: ${differences.join("; ")}`;
  return `${shorten(label)}: ${parts.join(" + ")}: ${verdict}`;
}

function summary({
  stream,
  outcome,
  tally,
  seconds,
}: {
  readonly stream: ChangeStream;
  readonly outcome: Outcome;
  readonly tally: Tally;
  readonly seconds: number;
}): string {
  const { resumedAfter, sections, final, refused, differences } = outcome;
  const newest = final[final.length - 1];
  const keptStill = final.length - 1;
  return [
    "",
    ...(resumedAfter > 0 ? [`resumed    behind ${count(resumedAfter)} ${stream.unit} that were there already: none was appended again`] : []),
    `appended   ${many(tally.mutations, "mutation")} in ${tally.batches === 1 ? "1 batch" : `${count(tally.batches)} batches`}: ${many(tally.redoFiles, "redo file")}, ${many(tally.redoBytes, "byte")}`,
    `captured   ${many(tally.snapshots, "snapshot")}, ${many(tally.snapshotBytes, "byte")}`,
    `expired    ${many(tally.expiredRedoFiles, "redo file")} and ${many(tally.expiredSnapshots, "snapshot")} that no kept state needs`,
    `recovered  ${many(sections.length, "state")} as the stream came in and the newest, each record compared with ${stream.witness}`,
    ...(keptStill + refused.length > 0
      ? [
          `again      at the end ${count(keptStill)} of those states are still kept and came out the same; ${count(refused.length)} were refused: their log has expired`,
        ]
      : []),
    ...stream.notes().map((note) => `note       ${note}`),
    `${differences === 0 ? "agrees    " : "DIFFERS   "} ${differences === 0 ? `with ${stream.witness} everywhere` : `in ${many(differences, "state")}`}; ${many(newest.records, "record")} now; ${seconds.toFixed(1)} s`,
    ...final.flatMap((comparison) => comparison.differences.map((what) => `  ${what}`)),
  ].join("\n");
}

function whatNext(directory: string, { final }: Outcome): string {
  const [oldest] = final;
  const cli = `npm run -s tidemark -- --store file:${directory}`;
  return `
The store is kept; try next:
  ${cli} status ${TABLE}
  ${cli} recover ${TABLE} --at ${oldest.index} -o state.ndjson
  ${cli} verify ${TABLE}
  ${cli} snapshot ${TABLE}
  npm start -- --help
Remove it with: rm -r ${directory}`;
}

function row([step, index, files, snapshots, expired, compared]: readonly string[]): string {
  return `${step.padStart(9)} ${index.padStart(11)} ${files.padStart(11)} ${snapshots.padStart(10)} ${expired.padStart(13)}  ${compared}`;
}

function shorten(label: string): string {
  return /^[0-9a-f]{40,}$/.test(label) ? label.slice(0, 12) : label;
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function many(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}
