// The port's ETag of a part is S3's with the part's CRC-32 behind it, since completing an upload asks for both.

import { crc32 } from "node:zlib";
import type { CompletedPart } from "@aws-sdk/client-s3";
import type { UploadedPart } from "../../ports/object-store.ts";

const BORDER = " crc32:";
/** Of four bytes, and of nothing else. */
const CRC32_BASE64 = /^[A-Za-z0-9+/]{6}==$/;

export function joinEtag(etag: string, checksum: string): string {
  return `${etag}${BORDER}${checksum}`;
}

export function completedPart({ number, etag }: UploadedPart): CompletedPart {
  const border = etag.lastIndexOf(BORDER);
  if (border < 0) return { PartNumber: number, ETag: etag };
  return { PartNumber: number, ETag: etag.slice(0, border), ChecksumCRC32: etag.slice(border + BORDER.length) };
}

export function crc32Base64(body: Uint8Array): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(body));
  return bytes.toString("base64");
}

export function crc32Of(checksum: string): number {
  return Buffer.from(checksum, "base64").readUInt32BE();
}

/** Whether an answer tells the CRC-32 of a part: of an object that was itself an upload it has the number of parts behind it. */
export function isCrc32(checksum: string | undefined): checksum is string {
  return checksum !== undefined && CRC32_BASE64.test(checksum);
}
