// The words of a TSM1 file, as InfluxDB 1.x writes it: header, blocks, index, footer. Everything is big-endian.
//
//   header  16 D1 16 D1 01
//   blocks  each: CRC-32 of the rest (4), type (1), length of the times (varint), times, values
//   index   keys ascending, each: length (2), key, type (1), count (2), and per block: first time (8), last time (8), offset (8),
//           bytes with the CRC (4)
//   footer  offset of the index (8)

export const HEADER = Buffer.of(0x16, 0xd1, 0x16, 0xd1, 0x01);
export const FOOTER_BYTES = 8;
export const CHECKSUM_BYTES = 4;
/** CRC-32, type, a length, and at least one byte. */
export const BLOCK_BYTES_MIN = CHECKSUM_BYTES + 3;

export const KEY_LENGTH_BYTES = 2;
/** Type and count, which stand behind the key. */
export const KEY_TAIL_BYTES = 3;
export const ENTRY_BYTES = 28;
export const ENTRY_LAST_TIME = 8;
export const ENTRY_OFFSET = 16;
export const ENTRY_LENGTH = 24;

export const FLOAT = 0;
export const INTEGER = 1;
export const BOOLEAN = 2;
export const STRING = 3;
export const UNSIGNED = 4;

export type BlockType = typeof FLOAT | typeof INTEGER | typeof BOOLEAN | typeof STRING | typeof UNSIGNED;

export function isBlockType(type: number): type is BlockType {
  return type >= FLOAT && type <= UNSIGNED;
}

/** The times of a 64-bit signed integer, in nanoseconds: the least and the greatest. */
export const TIME_MIN = -(2n ** 63n);
export const TIME_MAX = 2n ** 63n - 1n;

/** A TSM file, wherever it lies. */
export interface TsmSource {
  /** Names the file in errors. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** `length` bytes from `offset` on, which lie within the file. The bytes must stay as they are. */
  read(offset: number, length: number): Promise<Buffer>;
}
