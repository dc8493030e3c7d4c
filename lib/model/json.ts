// JSON texts as bytes (RFC 8259): finds where a value ends and refuses what is not JSON, without making objects of it,
// so that no number, escape or order is lost and a member named `__proto__` is a member like any other.
//
// Guarantees: one grammar for the door and for replay; nesting is bounded and nothing recurses by the text's depth (I10).
// Hot: a put of a JSON table passes here once. Nothing is allocated. bench/fold.ts measures it.

import { isUtf8 } from "node:buffer";
import { callError } from "./errors.ts";

/** Objects and arrays within each other. */
export const JSON_DEPTH_MAX = 512;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const ARRAY_OPEN = 0x5b;
const BACKSLASH = 0x5c;
const ARRAY_CLOSE = 0x5d;
const LETTER_E = 0x65;
const LETTER_U = 0x75;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;

const TRUE = Buffer.from("true");
const FALSE = Buffer.from("false");
const NULL = Buffer.from("null");

/** What closes each open object or array, outermost first. In use only within one call of `valueEnd`. */
const closers = new Uint8Array(JSON_DEPTH_MAX);

/** Refuses bytes that are not one well-formed JSON text in UTF-8, or are nested deeper than JSON_DEPTH_MAX. `what` names them in the error. */
export function checkJson(bytes: Uint8Array, what: string): void {
  if (!isUtf8(bytes)) throw callError("bad-json", `${what} is not JSON: it is not well-formed UTF-8 text`);
  const end = textEnd(bytes);
  if (end >= 0) return;
  const offset = -end - 1;
  if (isDeep(bytes)) throw callError("json-too-deep", `${what} is nested deeper than ${JSON_DEPTH_MAX} levels at byte ${offset}`);
  const found = offset < bytes.length ? `unexpected byte 0x${bytes[offset].toString(16).padStart(2, "0")} at ${offset}` : "it ends too early";
  throw callError("bad-json", `${what} is not JSON: ${found}`);
}

/** Where the text's one value ends, white space around it allowed; negative, -1 - offset of the offending byte, if it is not JSON. */
export function textEnd(bytes: Uint8Array): number {
  const end = valueEnd(bytes, skipSpace(bytes, 0, bytes.length), bytes.length);
  if (end < 0) return end;
  const rest = skipSpace(bytes, end, bytes.length);
  return rest === bytes.length ? end : -1 - rest;
}

/**
 * Where the JSON value that starts at `start` ends; negative, -1 - offset of the offending byte, if it is none.
 * Reads nothing at or behind `limit`. The bytes are well-formed UTF-8.
 */
export function valueEnd(bytes: Uint8Array, start: number, limit: number): number {
  let at = start;
  let depth = 0;
  for (;;) {
    // A value starts at `at`.
    const first = at < limit ? bytes[at] : 0;
    if (first === OBJECT_OPEN || first === ARRAY_OPEN) {
      if (depth === JSON_DEPTH_MAX) return -1 - at;
      const closer = first + 2;
      closers[depth++] = closer;
      at = skipSpace(bytes, at + 1, limit);
      const empty = at < limit && bytes[at] === closer;
      if (!empty) {
        if (closer === OBJECT_CLOSE) at = memberValue(bytes, at, limit);
        if (at < 0) return at;
        continue;
      }
    } else {
      at = scalarEnd(bytes, at, limit, first);
      if (at < 0 || depth === 0) return at;
      at = skipSpace(bytes, at, limit);
    }
    // A value ended: close what ends with it, up to the next comma.
    while (at < limit && bytes[at] === closers[depth - 1]) {
      at += 1;
      depth -= 1;
      if (depth === 0) return at;
      at = skipSpace(bytes, at, limit);
    }
    if (at >= limit || bytes[at] !== COMMA) return -1 - at;
    at = skipSpace(bytes, at + 1, limit);
    if (closers[depth - 1] === OBJECT_CLOSE) at = memberValue(bytes, at, limit);
    if (at < 0) return at;
  }
}

/** Behind the white space that starts at `start`. */
export function skipSpace(bytes: Uint8Array, start: number, limit: number): number {
  let at = start;
  while (at < limit && (bytes[at] === 0x20 || bytes[at] === 0x0a || bytes[at] === 0x0d || bytes[at] === 0x09)) at += 1;
  return at;
}

/** Where the value of the member starts whose name starts at `start`; negative if there is none. */
function memberValue(bytes: Uint8Array, start: number, limit: number): number {
  if (start >= limit || bytes[start] !== QUOTE) return -1 - start;
  const nameEnd = stringEnd(bytes, start, limit);
  if (nameEnd < 0) return nameEnd;
  const colon = skipSpace(bytes, nameEnd, limit);
  if (colon >= limit || bytes[colon] !== COLON) return -1 - colon;
  return skipSpace(bytes, colon + 1, limit);
}

function scalarEnd(bytes: Uint8Array, start: number, limit: number, first: number): number {
  if (first === QUOTE) return stringEnd(bytes, start, limit);
  if (first === MINUS || (first >= ZERO && first <= NINE)) return numberEnd(bytes, start, limit);
  if (first === TRUE[0]) return wordEnd(bytes, start, limit, TRUE);
  if (first === FALSE[0]) return wordEnd(bytes, start, limit, FALSE);
  if (first === NULL[0]) return wordEnd(bytes, start, limit, NULL);
  return -1 - start;
}

function stringEnd(bytes: Uint8Array, start: number, limit: number): number {
  let at = start + 1;
  for (;;) {
    while (at < limit && bytes[at] !== QUOTE && bytes[at] !== BACKSLASH && bytes[at] >= 0x20) at += 1;
    if (at >= limit || bytes[at] < 0x20) return -1 - at;
    if (bytes[at] === QUOTE) return at + 1;
    at = escapeEnd(bytes, at, limit);
    if (at < 0) return at;
  }
}

function escapeEnd(bytes: Uint8Array, start: number, limit: number): number {
  const letter = start + 1 < limit ? bytes[start + 1] : 0;
  if (letter !== LETTER_U) return isEscapeLetter(letter) ? start + 2 : -1 - (start + 1);
  for (let at = start + 2; at < start + 6; at += 1) {
    if (at >= limit || !isHexDigit(bytes[at])) return -1 - at;
  }
  return start + 6;
}

function numberEnd(bytes: Uint8Array, start: number, limit: number): number {
  let at = bytes[start] === MINUS ? start + 1 : start;
  const leading = at;
  at = digitsEnd(bytes, at, limit);
  if (at === leading) return -1 - at;
  if (bytes[leading] === ZERO && at > leading + 1) return -1 - (leading + 1);
  if (at < limit && bytes[at] === DOT) {
    const fraction = at + 1;
    at = digitsEnd(bytes, fraction, limit);
    if (at === fraction) return -1 - at;
  }
  if (at < limit && (bytes[at] | 0x20) === LETTER_E) {
    at += 1;
    if (at < limit && (bytes[at] === MINUS || bytes[at] === 0x2b)) at += 1;
    const exponent = at;
    at = digitsEnd(bytes, exponent, limit);
    if (at === exponent) return -1 - at;
  }
  return at;
}

function digitsEnd(bytes: Uint8Array, start: number, limit: number): number {
  let at = start;
  while (at < limit && bytes[at] >= ZERO && bytes[at] <= NINE) at += 1;
  return at;
}

function wordEnd(bytes: Uint8Array, start: number, limit: number, word: Uint8Array): number {
  for (let letter = 0; letter < word.length; letter += 1) {
    if (start + letter >= limit || bytes[start + letter] !== word[letter]) return -1 - (start + letter);
  }
  return start + word.length;
}

/** `"`, `\`, `/`, b, f, n, r, t. */
function isEscapeLetter(byte: number): boolean {
  return byte === QUOTE || byte === BACKSLASH || byte === 0x2f || byte === 0x62 || byte === 0x66 || byte === 0x6e || byte === 0x72 || byte === 0x74;
}

function isHexDigit(byte: number): boolean {
  const lower = byte | 0x20;
  return (byte >= ZERO && byte <= NINE) || (lower >= 0x61 && lower <= 0x66);
}

/** Whether refused bytes are JSON but for their depth. Slow: for the error's words only. */
function isDeep(bytes: Uint8Array): boolean {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (inString && byte === BACKSLASH) at += 1;
    else if (byte === QUOTE) inString = !inString;
    else if (!inString && (byte === OBJECT_OPEN || byte === ARRAY_OPEN)) deepest = Math.max(deepest, ++depth);
    else if (!inString && (byte === OBJECT_CLOSE || byte === ARRAY_CLOSE)) depth -= 1;
  }
  return deepest > JSON_DEPTH_MAX;
}
