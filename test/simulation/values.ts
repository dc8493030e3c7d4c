// What clients write: JSON of every shape, or any bytes; and what a careless one sends, which every writer must refuse.

import type { Mutation, ValueCodec } from "../../lib/model/mutation.ts";
import { KEY_BYTES_MAX } from "../../lib/model/limits.ts";
import type { Random } from "../../lib/ports/random.ts";

/** A mutation that any table takes. */
export const A_PUT = { kind: "put", key: Buffer.from("k"), value: Buffer.from("1") } as const satisfies Mutation;

/** Values that say every kind of thing that JSON can. */
export function drawValue(random: Random, codec: ValueCodec, sequence: number): Buffer {
  if (codec === "bytes") return Buffer.from(Array.from({ length: Math.floor(random.fraction() ** 3 * 400) }, () => Math.floor(random.fraction() * 128)));
  const size = random.fraction() < 0.1 ? LONG : 6;
  const chance = random.fraction();
  return Buffer.from(chance < 0.1 ? SPACED : chance < 0.2 ? inner(random, sequence, 0) : jsonText(random, sequence, size));
}

const LONG = 60;
const SPACED = ' { "0" : [ 1 , {} , [ ] ] ,\n "by"\t: "x" } ';

function jsonText(random: Random, sequence: number, size: number): string {
  const members = Array.from({ length: 1 + Math.floor(random.fraction() * size) }, (_, place) => `${nameOf(random, place)}:${inner(random, sequence, 3)}`);
  return `{${[...new Map(members.map((member) => [member.slice(0, member.indexOf(":")), member])).values()].join()}}`;
}

function nameOf(random: Random, place: number): string {
  return random.fraction() < 0.1 ? String.raw`"\u006e\"${place}"` : `"${place}"`;
}

function inner(random: Random, sequence: number, depth: number): string {
  const chance = Math.floor(random.fraction() * 12);
  if (depth > 0 && chance === 0) return `[${inner(random, sequence, depth - 1)},${inner(random, sequence, depth - 1)}]`;
  if (depth > 0 && chance === 1) return `{"a":${inner(random, sequence, depth - 1)},"0":${inner(random, sequence, depth - 1)}}`;
  return [
    `${sequence}`,
    "true",
    "false",
    "null",
    `-${sequence}.5e+3`,
    "0.25",
    "1E-7",
    '""',
    String.raw`"\u00e9\n\\ \ud83c\udf0a"`,
    `"${"w".repeat(sequence % 50)}"`,
    "[]",
    "{}",
  ][Math.floor(random.fraction() * 12)];
}

/** A document of many members, some of them twice, that is put or not, and then changed again and again. */
export function drawHotDocument(random: Random, key: Buffer): readonly Mutation[] {
  const put = (): Mutation => ({ kind: "put", key, value: hotDocument(random) });
  const patches = Array.from({ length: 1 + Math.floor(random.fraction() * 12) }, (): Mutation => ({ kind: "patch", key, value: hotPatch(random) }));
  return random.fraction() < 0.6 ? [put(), ...patches] : patches;
}

const HOT_MEMBERS = 40;

function hotDocument(random: Random): Buffer {
  const members = Array.from(
    { length: HOT_MEMBERS + Math.floor(random.fraction() * 50) },
    (_, place) => `"m${place % HOT_MEMBERS}" : ${inner(random, place, 2)}`,
  );
  return Buffer.from(`{${members.join()},"filling":"${"w".repeat(6_000 + Math.floor(random.fraction() * 6_000))}"}`);
}

function hotPatch(random: Random): Buffer {
  const members = Array.from({ length: 1 + Math.floor(random.fraction() * 3) }, () => {
    const name = random.fraction() < 0.2 ? "new" : `m${Math.floor(random.fraction() * 6)}`;
    return `"${name}":${HOT_CHANGES[Math.floor(random.fraction() * HOT_CHANGES.length)]}`;
  });
  return Buffer.from(random.fraction() < 0.05 ? "[]" : `{${members.join()}}`);
}

const HOT_CHANGES = ["null", "5", "{}", '{"c":1}', '{"c":{"d":2}}', '{"c":null}', `"${"p".repeat(3_000)}"`];

/** Batches that no writer may take, each with the code that it is refused with. */
export function carelessBatch(
  random: Random,
  codec: ValueCodec,
): { readonly mutations: readonly Mutation[]; readonly producer?: string; readonly sequence?: bigint } {
  const put = (key: string | Buffer, value: string | Buffer): Mutation => ({
    kind: "put",
    key: Buffer.from(key as string),
    value: Buffer.from(value as string),
  });
  const sound = put("k", '{"careless":1}');
  const kinds: readonly (() => ReturnType<typeof carelessBatch>)[] = [
    () => ({ mutations: [] }),
    () => ({ mutations: [sound, put("", "{}")] }),
    () => ({ mutations: [sound, put("k".repeat(KEY_BYTES_MAX + 1), "{}")] }),
    () => ({ mutations: [put(Buffer.of(0x6b, 0xc3), "{}")] }),
    () => ({ mutations: [sound], producer: "", sequence: 1n }),
    () => ({ mutations: [sound], producer: "p".repeat(200), sequence: 1n }),
    () => ({ mutations: [sound], producer: "\ud83c", sequence: 1n }),
    () => ({ mutations: [sound], producer: "careless", sequence: -1n }),
    () => ({ mutations: [sound], producer: "careless", sequence: 1n << 192n }),
    ...(codec === "bytes"
      ? [() => ({ mutations: [sound, { ...sound, kind: "patch" } as Mutation] })]
      : NOT_JSON.map((text) => () => ({ mutations: [sound, put("k", text)] }))),
    ...(codec === "bytes" ? [] : [() => ({ mutations: [put("k", Buffer.concat([Buffer.from('"'), Buffer.of(0xff), Buffer.from('"')]))] })]),
  ];
  return kinds[Math.floor(random.fraction() * kinds.length)]();
}

const NOT_JSON = [
  "",
  " ",
  "{",
  "[",
  "[1",
  "[1 2]",
  "[1,]",
  '{"a"',
  '{"a":',
  '{"a":1',
  '{"a" 1}',
  '{"a":1,}',
  "{a:1}",
  '{"a":1 "b":2}',
  '{"a":1} 2',
  "tru",
  "truth",
  "falsy",
  "nul",
  "x",
  "01",
  "-",
  "1.",
  "1.e5",
  "1e",
  "1e+",
  "-x",
  ".5",
  '"',
  '"a',
  '"\n"',
  String.raw`"\x"`,
  String.raw`"\u12"`,
  String.raw`"\u12g4"`,
  '"\\',
  "[[[",
  '{"a":{"b":[}}',
  `${"[".repeat(2_000)}${"]".repeat(2_000)}`,
];
