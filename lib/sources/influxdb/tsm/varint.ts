// Numbers of 7 bits a byte, the lowest first.

/** Where a reader stands. */
export interface Cursor {
  at: number;
}

/** A length or a count. Throws RangeError where it is cut, or above `max`. */
export function readLength(bytes: Buffer, cursor: Cursor, max: number, what: string): number {
  let value = 0;
  for (let factor = 1; factor < 2 ** 53; factor *= 128) {
    if (cursor.at >= bytes.length) throw new RangeError(`${what} is cut`);
    const byte = bytes[cursor.at++];
    value += (byte & 0x7f) * factor;
    if (value > max) break;
    if (byte < 0x80) return value;
  }
  throw new RangeError(`${what} is above ${max}`);
}

/** An unsigned number of 64 bits. */
export function readWide(bytes: Buffer, cursor: Cursor, what: string): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    if (cursor.at >= bytes.length) throw new RangeError(`${what} is cut`);
    const byte = bytes[cursor.at++];
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80 && value < 2n ** 64n) return value;
  }
  throw new RangeError(`${what} has more than 64 bits`);
}

export const VARINT_BYTES_MAX = 10;

export function writeLength(value: number, out: Buffer, at: number): number {
  for (; value >= 0x80; value = Math.floor(value / 128)) out[at++] = (value % 128) | 0x80;
  out[at++] = value;
  return at;
}

export function writeWide(value: bigint, out: Buffer, at: number): number {
  for (; value >= 0x80n; value >>= 7n) out[at++] = Number(value & 0x7fn) | 0x80;
  out[at++] = Number(value);
  return at;
}
