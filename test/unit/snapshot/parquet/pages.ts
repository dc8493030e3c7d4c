// Pages as any program could store them, for tests: with whatever payload, and a header that is right for it.

import { crc32 } from "node:zlib";
import { type Column, ENCODING_RLE } from "../../../../lib/snapshot/parquet/layout.ts";
import { thriftWriter } from "../../../../lib/snapshot/parquet/thrift.ts";

/** The page, and the checksum that the footer has of it. */
export function storedPage(column: Column, rows: number, rawLength: number, payload: Buffer): { readonly checksum: number; readonly stored: Buffer } {
  const checksum = crc32(payload);
  const header = thriftWriter();
  header.i32(1, 0);
  header.i32(2, rawLength);
  header.i32(3, payload.length);
  header.i32(4, checksum | 0);
  header.struct(5, () => {
    header.i32(1, rows);
    header.i32(2, column.encoding);
    header.i32(3, ENCODING_RLE);
    header.i32(4, ENCODING_RLE);
  });
  return { checksum, stored: Buffer.concat([header.end(), payload]) };
}
