// What is done to valid encodings: a few edits, each of which leaves most of it as it was, so that what is wrong lies deep.

import fc from "fast-check";

/** Where an edit begins and how far it reaches, as shares of the whole: good for bytes of any length. */
interface Edit {
  readonly kind: "flip" | "set" | "number" | "cut" | "insert" | "repeat" | "move" | "transfer" | "widen";
  readonly at: number;
  readonly length: number;
  readonly to: number;
  readonly byte: number;
  readonly number: bigint;
}

const share = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

/** Lengths and counts at which decoders go wrong. */
const EXTREMES = [0n, 1n, 127n, 128n, 255n, 256n, 65_535n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom("flip", "set", "number", "cut", "insert", "repeat", "move", "transfer", "widen"),
  at: share,
  length: fc.oneof(
    fc.constant(0),
    share.map((part) => part ** 4),
  ),
  to: share,
  byte: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
  number: fc.constantFrom(...EXTREMES),
});

export const edits: fc.Arbitrary<readonly Edit[]> = fc.array(edit, { minLength: 1, maxLength: 4 });

export function edited(bytes: Buffer, list: readonly Edit[]): Buffer {
  return list.reduce<Buffer>(applied, Buffer.from(bytes));
}

function applied(bytes: Buffer, { kind, at, length, to, byte, number }: Edit): Buffer {
  const from = Math.floor(at * bytes.length);
  const end = Math.min(bytes.length, from + 1 + Math.floor(length * bytes.length));
  const piece = bytes.subarray(from, end);
  const target = Math.floor(to * bytes.length);
  switch (kind) {
    case "flip":
      return spliced(bytes, from, from + 1, Buffer.of((bytes[from] ?? 0) ^ (byte || 1)));
    case "set":
      return spliced(bytes, from, end, Buffer.alloc(end - from, byte));
    case "number": {
      const width = [1, 2, 4, 8][byte % 4];
      const field = Buffer.alloc(8);
      if (byte < 128) field.writeBigUInt64LE(number);
      else field.writeBigUInt64BE((number << BigInt(64 - 8 * width)) & (2n ** 64n - 1n));
      return spliced(bytes, from, from + width, field.subarray(0, width));
    }
    case "cut":
      return spliced(bytes, from, end, Buffer.alloc(0));
    case "insert":
      return spliced(bytes, from, from, Buffer.alloc(end - from, byte));
    case "repeat":
      return spliced(bytes, target, target, piece);
    case "move":
      return spliced(bytes, target, target + piece.length, piece);
    case "transfer": {
      // From one length to another nearby: their sum stays.
      const other = Math.min(bytes.length - 1, from + 1 + (byte % 4));
      const given = spliced(bytes, from, from + 1, Buffer.of((bytes[from] ?? 0) + 1));
      return spliced(given, other, other + 1, Buffer.of((given[other] ?? 0) - 1));
    }
    case "widen":
      // A number in one byte more than it needs.
      return spliced(bytes, from, from + 1, Buffer.of((bytes[from] ?? 0) | 0x80, 0));
  }
}

function spliced(bytes: Buffer, from: number, to: number, piece: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, from), piece, bytes.subarray(to)]);
}

/** Any JSON value with a few of its members lost, doubled, of another kind or in each other's places. */
export function editedJson(value: unknown): fc.Arbitrary<unknown> {
  const places = pathsIn(value);
  const change = fc.record({
    path: fc.constantFrom(...places),
    value: fc.oneof(
      fc.constantFrom<unknown>(undefined, null, true, "", [], {}, 0, -1, 0.5, 1e300, Number.MAX_SAFE_INTEGER),
      fc.jsonValue({ maxDepth: 2 }),
      fc.string({ unit: "binary", maxLength: 40 }),
    ),
    from: fc.option(fc.constantFrom(...places), { nil: undefined }),
  });
  return fc
    .array(change, { minLength: 1, maxLength: 3 })
    .map((changes) => changes.reduce((whole, { path, value: wanted, from }) => withAt(whole, path, from === undefined ? wanted : valueAt(value, from)), value));
}

type Path = readonly (string | number)[];

function pathsIn(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== "object" || value === null) return [path];
  const members = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return [path, ...members.flatMap((name) => pathsIn((value as Record<string | number, unknown>)[name], [...path, name]))];
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((inner, name) => (inner as Record<string | number, unknown> | undefined)?.[name], value);
}

function withAt(value: unknown, [name, ...rest]: Path, wanted: unknown): unknown {
  if (name === undefined) return wanted;
  if (Array.isArray(value) && typeof name === "number") return value.map((one, place) => (place === name ? withAt(one, rest, wanted) : one));
  if (typeof value !== "object" || value === null) return value;
  return { ...value, [name]: withAt((value as Record<string, unknown>)[name], rest, wanted) };
}
