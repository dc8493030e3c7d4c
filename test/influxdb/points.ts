// Points for tests, the same for the same seed, and what a server answers about all that a database holds, in a form to compare.

import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import type { Influxd } from "./influxd.ts";

const ROWS_PER_CHUNK = 10_000;
/** Of a sum of floats, which servers add up in an order of their own. */
const SUM_DIGITS = 9;

/** In line protocol. */
const PATHS = ["/", String.raw`/var\ lib`, String.raw`/\=\,é`];
const TEXTS = ["", String.raw`a \"word\"`, "two\nlines", String.raw`back\\slash, é=1`];

export interface PointPlan {
  readonly seed: number;
  readonly points: number;
  /** How long a shard group of the policy lasts. */
  readonly shardGroupMs: number;
  /** In how many shard groups there are points, from the first one that begins at or after `fromMs`; default 1. */
  readonly groups?: number;
  /** In milliseconds since 1970; default the beginning of 2024. */
  readonly fromMs?: number;
  /** How many values the tag has that is on most points; default 5. */
  readonly hosts?: number;
}

/**
 * That many different points as lines of line protocol, times in nanoseconds, in no order of time: several measurements, none to
 * three tags, fields of every type, names and texts that need quoting, whole numbers beyond what a double holds.
 */
export function points({ seed, points: count, shardGroupMs, groups = 1, fromMs = Date.UTC(2024, 0, 1), hosts = 5 }: PointPlan): readonly string[] {
  const random = seededRandom(seed);
  const below = (bound: number) => Math.floor(random.fraction() * bound);
  const firstMs = Math.ceil(fromMs / shardGroupMs) * shardGroupMs;
  const stepNs = (BigInt(shardGroupMs) * BigInt(groups) * 1_000_000n) / BigInt(count);
  const lines = Array.from({ length: count }, (_, at) => {
    const timeNs = BigInt(firstMs) * 1_000_000n + BigInt(at) * stepNs + BigInt(below(Number(stepNs)));
    const host = `host=server-${below(hosts)}`;
    switch (below(4)) {
      case 0:
        return `cpu,${host},region=${["eu", "us"][below(2)]} idle=${random.fraction() * 100},user=${(random.fraction() - 0.5) * 10 ** (below(40) - 20)} ${timeNs}`;
      case 1:
        return `disk,${host},path=${PATHS[below(PATHS.length)]} free=${wholeNumber(below)}i,ok=${below(2) === 0} ${timeNs}`;
      case 2:
        return `odd\\ name\\,\\ ü,${host} text="${TEXTS[below(TEXTS.length)]} ${random.id(16)}" ${timeNs}`;
      default:
        return `untagged count=${below(1000)}i,level=${below(10)} ${timeNs}`;
    }
  });
  return shuffled(lines, below);
}

/** Now and then one that no double holds. */
function wholeNumber(below: (bound: number) => number): bigint {
  return below(10) === 0 ? 2n ** 62n - BigInt(below(1000)) : BigInt(below(2 ** 31)) - 2n ** 30n;
}

function shuffled(lines: string[], below: (bound: number) => number): readonly string[] {
  for (let at = lines.length - 1; at > 0; at--) {
    const other = below(at + 1);
    [lines[at], lines[other]] = [lines[other], lines[at]];
  }
  return lines;
}

/** All that a database holds. Two that hold the same are deeply equal, whatever the database and its policies are called. */
export interface Answers {
  /** Of each policy that holds rows; in the order of their digests. */
  readonly policies: readonly PolicyAnswers[];
  /** What the index shows, whether it has rows or not. */
  readonly shown: { readonly measurements: readonly string[]; readonly series: readonly string[] };
}

export interface PolicyAnswers {
  readonly measurements: Readonly<Record<string, MeasurementAnswers>>;
  /** Of every row of it: series, time, fields, values. */
  readonly sha256: string;
}

export interface MeasurementAnswers {
  readonly series: number;
  readonly rows: number;
  /** Of each field that has values its type. */
  readonly fields: Readonly<Record<string, string>>;
  /** By the server's own count and sum: for each series, each field. */
  readonly totals: Readonly<Record<string, string>>;
  readonly sha256: string;
}

export async function answers(influxd: Influxd, database: string): Promise<Answers> {
  const list = async (statement: string) => rowsOf(await influxd.query(`SHOW ${statement}`, { db: database }));
  const measurements = (await list("MEASUREMENTS")).map(([name]) => String(name)).sort();
  const policies: PolicyAnswers[] = [];
  for (const [policy] of await list(`RETENTION POLICIES ON ${quoted(database)}`)) {
    const found: [string, MeasurementAnswers][] = [];
    for (const measurement of measurements) {
      const source = `${quoted(database)}.${quoted(String(policy))}.${quoted(measurement)}`;
      const answer = await ofMeasurement(influxd, source);
      if (answer.rows > 0) found.push([measurement, answer]);
    }
    if (found.length > 0) policies.push({ measurements: Object.fromEntries(found), sha256: sha256(JSON.stringify(found)) });
  }
  return {
    policies: policies.sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1)),
    shown: { measurements, series: (await list("SERIES")).map(([key]) => String(key)).sort() },
  };
}

async function ofMeasurement(influxd: Influxd, source: string): Promise<MeasurementAnswers> {
  const hash = createHash("sha256");
  const series = new Set<string>();
  const named = new Set<string>();
  let rows = 0;
  for await (const { tags, columns, values } of seriesOf(influxd, `SELECT * FROM ${source} GROUP BY *`)) {
    const key = JSON.stringify(tags);
    series.add(key);
    rows += values.length;
    for (const row of values) {
      // Fields that this row lacks are null, and may be known to one server only.
      const held = columns.map((column, at) => [column, row[at]]).filter(([, value]) => value !== null);
      for (const [column] of held.slice(1)) if (column !== null) named.add(column);
      hash.update(`${key}${JSON.stringify(held)}\n`);
    }
  }
  if (rows === 0) return { series: 0, rows: 0, fields: {}, totals: {}, sha256: "" };
  const types = rowsOf(await influxd.query(`SHOW FIELD KEYS FROM ${source}`));
  const fields = Object.fromEntries(types.filter(([name]) => named.has(String(name))).map(([name, type]) => [String(name), String(type)]));
  return {
    series: series.size,
    rows,
    fields,
    totals: await totalsOf(influxd, source, fields),
    sha256: hash.digest("hex"),
  };
}

async function totalsOf(influxd: Influxd, source: string, fields: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const totals: [string, string][] = [];
  for (const call of ["count", "sum"]) {
    for await (const { tags, columns, values } of seriesOf(influxd, `SELECT ${call}(*) FROM ${source} GROUP BY *`)) {
      columns.slice(1).forEach((column, at) => {
        const value = values[0]?.[at + 1] ?? null;
        const isFloat = call === "sum" && fields[column.slice(call.length + 1)] === "float";
        if (value !== null) totals.push([`${column} ${JSON.stringify(tags)}`, isFloat ? Number(value).toPrecision(SUM_DIGITS) : value]);
      });
    }
  }
  return Object.fromEntries(totals.sort(([a], [b]) => (a < b ? -1 : 1)));
}

interface TextSeries {
  readonly tags: Readonly<Record<string, string>>;
  readonly columns: readonly string[];
  /** Every value as the server wrote it in JSON: no digit is lost. */
  readonly values: readonly (readonly (string | null)[])[];
}

/** Chunk by chunk, as the server sends them: a line of JSON each. A series may come in several. */
async function* seriesOf(influxd: Influxd, statement: string): AsyncGenerator<TextSeries> {
  const body = new URLSearchParams({ q: statement, epoch: "ns", chunked: "true", chunk_size: `${ROWS_PER_CHUNK}` });
  const answer = await fetch(new URL("/query", influxd.http), { method: "POST", body });
  if (answer.body === null) throw new Error(`influxd answers nothing to ${statement}`);
  for await (const line of createInterface({ input: Readable.fromWeb(answer.body), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line === "") continue;
    const chunk: Chunk = JSON.parse(line, sourceText);
    const error = chunk.error ?? chunk.results?.find((result) => result.error !== undefined)?.error;
    if (error !== undefined) throw new Error(`influxd refuses ${statement}: ${error}`);
    for (const result of chunk.results ?? []) {
      for (const { tags = {}, columns, values } of result.series ?? []) yield { tags: withoutEmpty(tags), columns, values };
    }
  }
}

/** A tag that this series lacks, and that another has or had. */
function withoutEmpty(tags: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(tags).filter(([, value]) => value !== ""));
}

interface Chunk {
  readonly error?: string;
  readonly results?: readonly { readonly error?: string; readonly series?: readonly (Omit<TextSeries, "tags"> & Partial<Pick<TextSeries, "tags">>)[] }[];
}

/** Numbers and truth values become their text, so that 1 and 1.0, and whole numbers of nineteen digits, stay apart. */
function sourceText(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === "number" || typeof value === "boolean" ? (context?.source ?? String(value)) : value;
}

function rowsOf(results: Awaited<ReturnType<Influxd["query"]>>): readonly (readonly unknown[])[] {
  return results.flatMap(({ series = [] }) => series.flatMap(({ values = [] }) => values));
}

/** An identifier of InfluxQL. */
function quoted(name: string): string {
  return `"${name.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"')}"`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
