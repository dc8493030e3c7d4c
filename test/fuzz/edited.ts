// What is done to valid encodings: a few edits, each of which leaves most of it as it was, so that what is wrong lies deep.

/** Where an edit begins and how far it reaches, as shares of the whole: good for bytes of any length. */
export interface Edit {
  readonly kind: (typeof EDITS)[number];
  readonly at: number;
  readonly length: number;
  readonly to: number;
  readonly byte: number;
  readonly number: bigint;
}

export const EDITS = ["flip", "set", "number", "cut", "insert", "repeat", "move", "transfer", "widen"] as const;

/** Lengths and counts at which decoders go wrong. */
export const EXTREMES = [
  0n,
  1n,
  127n,
  128n,
  255n,
  256n,
  65_535n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

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
