// Keys and values are bytes; order is memcmp's. JavaScript's string order is UTF-16's and differs.

import { isUtf8 } from "node:buffer";
import { callError } from "./errors.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "./limits.ts";

/** UTF-8 bytes of `text`; refuses lone surrogates, which have no UTF-8. `what` names the place in the error. */
export function utf8(text: string, what: string): Buffer {
  if (!text.isWellFormed()) throw callError("ill-formed-text", `${what} is not well-formed text: it holds half of a surrogate pair`);
  return Buffer.from(text, "utf8");
}

/** Checks a key's bytes: 1 to KEY_BYTES_MAX of well-formed UTF-8. `what` names the place in the error. */
export function checkKey(key: Uint8Array, what = () => "the key"): void {
  if (key.length === 0) throw callError("empty-key", `${what()} is empty: a key has 1 to ${KEY_BYTES_MAX} bytes`);
  if (key.length > KEY_BYTES_MAX) throw callError("key-too-long", `${what()} has ${key.length} bytes: at most ${KEY_BYTES_MAX} are allowed`);
  if (!isUtf8(key)) throw callError("ill-formed-text", `${what()} is not well-formed UTF-8 text`);
}

/** Checks a value's size. */
export function checkValue(value: Uint8Array, what = () => "the value"): void {
  if (value.length > VALUE_BYTES_MAX) throw callError("value-too-large", `${what()} has ${value.length} bytes: at most ${VALUE_BYTES_MAX} are allowed`);
}

/** memcmp of two ranges; of two of which one starts with the other, the shorter comes first. Hot: short keys, no call into native code. */
export function compareBytes(one: Buffer, oneStart: number, oneLength: number, other: Buffer, otherStart: number, otherLength: number): number {
  const shared = Math.min(oneLength, otherLength);
  for (let at = 0; at < shared; at += 1) {
    const difference = one[oneStart + at] - other[otherStart + at];
    if (difference !== 0) return difference;
  }
  return oneLength - otherLength;
}

/** The least key above `key`. */
export function successor(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

/** A call into native code costs more than the bytes of a short key. */
const SHORT_BYTES = 32;

/** Copies bytes from one place to another, of another buffer. */
export function copyBytes(source: Buffer, from: number, length: number, target: Buffer, at: number): void {
  if (length > SHORT_BYTES) {
    source.copy(target, at, from, from + length);
    return;
  }
  for (let byte = 0; byte < length; byte += 1) target[at + byte] = source[from + byte];
}
