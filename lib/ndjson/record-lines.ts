// Records as NDJSON: {"key":"user/1","value":{…},"index":7,"time":"2026-11-01T12:00:00.000Z"}. A JSON value goes out byte
// for byte as it came in (but for line breaks between its tokens, which would end the line: they become spaces), one of
// bytes as base64.
//
// Hot: a million records pass here in a recovery. One buffer, used again for each call; no string per record but where
// a key needs escapes or a value base64.

import type { ValueCodec } from "../model/mutation.ts";
import type { Rows } from "../model/rows.ts";

export interface RecordLines {
  /** The rows' lines, in memory that the next call overwrites. */
  encode(rows: Rows): Buffer;
}

const KEY = Buffer.from(`{"key":`);
const VALUE = Buffer.from(`,"value":`);
const INDEX = Buffer.from(`,"index":`);
const TIME = Buffer.from(`,"time":"`);
const END = Buffer.from(`"}\n`);
const INDEX_DIGITS_MAX = 16;
const TIME_LENGTH_MAX = "+275760-09-13T00:00:00.000Z".length;
/** Quotes of key and value included. */
const ROW_BYTES = KEY.length + VALUE.length + INDEX.length + TIME.length + END.length + INDEX_DIGITS_MAX + TIME_LENGTH_MAX + 4;
/** `\u001f` for one byte. */
const ESCAPED_BYTES_MAX = 6;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;

export function recordLines(codec: ValueCodec): RecordLines {
  let out = Buffer.alloc(0);
  let cachedTimeMs = Number.NaN;
  let cachedTime = Buffer.alloc(0);

  function timeOf(timeMs: number): Buffer {
    if (timeMs !== cachedTimeMs) {
      cachedTimeMs = timeMs;
      cachedTime = Buffer.from(new Date(timeMs).toISOString(), "latin1");
    }
    return cachedTime;
  }

  return {
    encode({ count, keys, keyEnds, values, valueEnds, indexes, times }) {
      const valueBytes = codec === "json" ? values.length : Math.ceil(values.length / 3) * 4 + count * 4;
      const needed = keys.length * ESCAPED_BYTES_MAX + valueBytes + count * ROW_BYTES;
      if (out.length < needed) out = Buffer.allocUnsafeSlow(needed);
      const breaksLines = codec === "json" && (values.includes(LINE_FEED) || values.includes(CARRIAGE_RETURN));
      let at = 0;
      let keyFrom = 0;
      let valueFrom = 0;
      for (let row = 0; row < count; row += 1) {
        const keyTo = keyEnds[row];
        const valueTo = valueEnds[row];
        at = writeConstant(out, at, KEY);
        at = writeKey(out, at, keys, keyFrom, keyTo);
        at = writeConstant(out, at, VALUE);
        if (codec === "json") {
          const from = at;
          at += values.copy(out, at, valueFrom, valueTo);
          if (breaksLines) joinLines(out, from, at);
        } else {
          out[at++] = QUOTE;
          at += out.write(values.toString("base64", valueFrom, valueTo), at, "latin1");
          out[at++] = QUOTE;
        }
        at = writeConstant(out, at, INDEX);
        at = writeNumber(out, at, indexes[row]);
        at = writeConstant(out, at, TIME);
        at = writeConstant(out, at, timeOf(times[row]));
        at = writeConstant(out, at, END);
        keyFrom = keyTo;
        valueFrom = valueTo;
      }
      return out.subarray(0, at);
    },
  };
}

function writeConstant(out: Buffer, start: number, constant: Buffer): number {
  let at = start;
  for (let byte = 0; byte < constant.length; byte += 1) out[at++] = constant[byte];
  return at;
}

/** In quotes. Most keys need no escape; one that does is written by JSON.stringify. */
function writeKey(out: Buffer, start: number, keys: Buffer, from: number, to: number): number {
  let at = start;
  out[at++] = QUOTE;
  for (let byte = from; byte < to; byte += 1) {
    const code = keys[byte];
    if (code < SPACE || code === QUOTE || code === BACKSLASH) return start + out.write(JSON.stringify(keys.toString("utf8", from, to)), start);
    out[at++] = code;
  }
  out[at++] = QUOTE;
  return at;
}

function writeNumber(out: Buffer, start: number, number: number): number {
  let digits = 1;
  for (let rest = number; rest >= 10; rest = Math.floor(rest / 10)) digits += 1;
  let rest = number;
  for (let at = start + digits - 1; at >= start; at -= 1) {
    const tens = Math.floor(rest / 10);
    out[at] = ZERO + (rest - tens * 10);
    rest = tens;
  }
  return start + digits;
}

/** Raw line breaks stand only between tokens: JSON's strings hold none. */
function joinLines(out: Buffer, from: number, to: number): void {
  for (let at = from; at < to; at += 1) {
    if (out[at] === LINE_FEED || out[at] === CARRIAGE_RETURN) out[at] = SPACE;
  }
}
