import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { crc32Combine } from "../../../lib/model/crc32.ts";

const bytes = fc.uint8Array({ maxLength: 300 });

test("the CRC-32 of two stretches of bytes follows from that of each and their lengths, as zlib has it of the whole", () => {
  fc.assert(
    fc.property(bytes, bytes, bytes, (one, two, three) => {
      const whole = crc32(Buffer.concat([one, two, three]));
      const firstTwo = crc32Combine(crc32(one), crc32(two), two.length);
      expect(crc32Combine(firstTwo, crc32(three), three.length)).toBe(whole);
    }),
  );
});

test("stretches may have any length that an object has", () => {
  // Zeros, in blocks that are doubled: zlib reads 64 MiB, the arithmetic goes on to 2^42 bytes.
  const block = Buffer.alloc(2 ** 20);
  let [crc, length] = [crc32(block), block.length];
  for (; length < 2 ** 26; length *= 2) crc = crc32Combine(crc, crc, length);
  let read = 0;
  for (let at = 0; at < length; at += block.length) read = crc32(block, read);
  expect(crc).toBe(read);
  for (; length < 2 ** 42; length *= 2) crc = crc32Combine(crc, crc, length);
  expect(crc32Combine(crc32Combine(7, 0, 2 ** 41), 0, 2 ** 41)).toBe(crc32Combine(7, 0, 2 ** 42));
});
