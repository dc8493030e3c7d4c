import fc from "fast-check";
import { expect, test } from "vitest";
import { compareBytes, successor } from "../../../lib/model/bytes.ts";

const bytes = fc.uint8Array({ maxLength: 6, max: 3 }).map((some) => Buffer.from(some));

test("two stretches of bytes compare as memcmp has it, wherever they lie", () => {
  fc.assert(
    fc.property(bytes, bytes, bytes, bytes, (one, other, before, behind) => {
      const order = compareBytes(Buffer.concat([before, one, behind]), before.length, one.length, Buffer.concat([behind, other]), behind.length, other.length);
      expect(Math.sign(order)).toBe(Buffer.compare(one, other));
    }),
  );
});

test("no key lies between a key and its successor", () => {
  fc.assert(
    fc.property(bytes, bytes, (key, other) => {
      expect(Buffer.compare(successor(key), key)).toBe(1);
      if (Buffer.compare(other, key) > 0) expect(Buffer.compare(other, successor(key))).toBeGreaterThanOrEqual(0);
    }),
  );
});
