// One gzip member at a time. zlib's own way through several would stop in silence where a later one is damaged.

import { crc32, inflateRawSync, type ZlibOptions } from "node:zlib";

const HEADER_BYTES = 10;
const TRAILER_BYTES = 8;
/** gzip, deflate, no flags: all that Go's gzip writes unless it is asked for more. */
const HEADER_START = 0x1f8b_0800;

export type Member = { readonly kind: "member"; readonly unpacked: Buffer; readonly end: number } | { readonly kind: "too-large" };

/** The member at `at`, unpacked to at most `lengthMax` bytes, and where it ends. Throws RangeError for what is no whole member. */
export function unpackMember(bytes: Buffer, at: number, lengthMax: number): Member {
  const body = at + HEADER_BYTES;
  if (body + TRAILER_BYTES > bytes.length) throw new RangeError("it is cut");
  if (bytes.readUInt32BE(at) !== HEADER_START) throw new RangeError("it does not begin as gzip does");
  const inflated = inflate(bytes.subarray(body), lengthMax);
  if (inflated.kind === "too-large") return inflated;
  const { unpacked } = inflated;
  const trailer = body + inflated.end;
  if (trailer + TRAILER_BYTES > bytes.length) throw new RangeError("it is cut");
  if (bytes.readUInt32LE(trailer) !== crc32(unpacked)) throw new RangeError("it fails its CRC-32");
  if (bytes.readUInt32LE(trailer + 4) !== unpacked.length) throw new RangeError("it has another length than it says");
  return { kind: "member", unpacked, end: trailer + TRAILER_BYTES };
}

function inflate(packed: Buffer, lengthMax: number): Member {
  // With `info`, Node gives the engine too, which knows how many bytes it took; its types leave that out.
  const options: ZlibOptions = { info: true, maxOutputLength: Math.max(lengthMax, 1) };
  try {
    const result = inflateRawSync(packed, options) as unknown as { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } };
    if (result.buffer.length > lengthMax) return { kind: "too-large" };
    return { kind: "member", unpacked: result.buffer, end: result.engine.bytesWritten };
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ERR_BUFFER_TOO_LARGE") return { kind: "too-large" };
    throw new RangeError("it cannot be unpacked", { cause });
  }
}
