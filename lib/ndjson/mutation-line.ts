// One line of NDJSON as one mutation: {"op":"put","key":"user/1","value":{"name":"Ada"}}.
//
// Guarantees: the line is JSON by the same grammar as everywhere (lib/model/json.ts); a JSON value is the line's
// own bytes, never parsed and written again, so that no number, escape or order is lost; whatever is not understood is
// refused with the line's number and the remedy, nothing is guessed or passed over.
// Hot: every line that is appended passes here. Nothing is allocated but the mutation and the views of its key and value.

import { checkJson, skipSpace, valueEnd } from "../model/json.ts";
import { checkKey, checkValue, utf8 } from "../model/bytes.ts";
import { callError, type TidemarkError } from "../model/errors.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../model/limits.ts";
import type { Mutation, ValueCodec } from "../model/mutation.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;

const UNKNOWN = 0;
const OP = 1;
const KEY = 2;
const VALUE = 3;
type Member = typeof UNKNOWN | typeof OP | typeof KEY | typeof VALUE;

const MEMBERS: ReadonlyMap<string, Member> = new Map([
  ["op", OP],
  ["key", KEY],
  ["k", KEY],
  ["value", VALUE],
  ["v", VALUE],
] as const);

/** What a mutation is numbered by: a line of NDJSON, or its place in a body. */
export type Unit = "line" | "mutation";

/**
 * The line `bytes[start … end)`, without its line feed; well-formed UTF-8. The mutation's key and value may be views of `bytes`.
 * `line` numbers it in errors, where `unit` says what is counted.
 * @throws {TidemarkError} `call`
 */
export function parseMutation(bytes: Buffer, start: number, end: number, line: number, codec: ValueCodec, unit: Unit = "line"): Mutation {
  let opFrom = -1;
  let opTo = -1;
  let keyFrom = -1;
  let keyTo = -1;
  let valueFrom = -1;
  let valueTo = -1;
  // At `end` stands a line feed or nothing: no token of JSON, so tokens need no look at `end`.
  let at = skipSpace(bytes, start, end);
  if (bytes[at] !== OBJECT_OPEN) throw notAMutation(bytes, start, end, line, unit);
  at = skipSpace(bytes, at + 1, end);
  let more = bytes[at] !== OBJECT_CLOSE;
  while (more) {
    const nameEnd = bytes[at] === QUOTE ? valueEnd(bytes, at, end) : -1;
    const colon = nameEnd < 0 ? end : skipSpace(bytes, nameEnd, end);
    if (bytes[colon] !== COLON) throw notAMutation(bytes, start, end, line, unit);
    const from = skipSpace(bytes, colon + 1, end);
    const to = valueEnd(bytes, from, end);
    if (to < 0) throw notAMutation(bytes, start, end, line, unit);
    switch (memberAt(bytes, at + 1, nameEnd - 1)) {
      case OP:
        if (opFrom >= 0) throw given(line, unit, "its op");
        opFrom = from;
        opTo = to;
        break;
      case KEY:
        if (keyFrom >= 0) throw given(line, unit, "its key");
        keyFrom = from;
        keyTo = to;
        break;
      case VALUE:
        if (valueFrom >= 0) throw given(line, unit, "its value");
        valueFrom = from;
        valueTo = to;
        break;
      case UNKNOWN:
        throw unknownMember(bytes.toString("utf8", at, nameEnd), line, unit);
    }
    at = skipSpace(bytes, to, end);
    more = bytes[at] === COMMA;
    if (more) at = skipSpace(bytes, at + 1, end);
    else if (bytes[at] !== OBJECT_CLOSE) throw notAMutation(bytes, start, end, line, unit);
  }
  if (skipSpace(bytes, at + 1, end) !== end) throw notAMutation(bytes, start, end, line, unit);
  if (keyFrom < 0) throw callError("bad-line", `${unit} ${line} has no key: write it as ${FORM}`);
  const key = keyAt(bytes, keyFrom, keyTo, line, unit);
  const kind = opFrom < 0 ? "put" : kindAt(bytes, opFrom, opTo, line, unit);
  if (kind === "delete") {
    if (valueFrom >= 0) throw callError("bad-line", `${unit} ${line} is a delete with a value: leave the value away, or send a put`);
    return { kind, key };
  }
  if (valueFrom < 0) throw callError("bad-line", `${unit} ${line} is a ${kind} without a value: write it as ${FORM}`);
  if (codec === "bytes" && kind === "patch") {
    throw callError("patch-of-bytes", `${unit} ${line} is a patch, but the table's values are bytes: send a put`);
  }
  const value = codec === "json" ? bytes.subarray(valueFrom, valueTo) : base64At(bytes, valueFrom, valueTo, line, unit);
  if (value.length > VALUE_BYTES_MAX) checkValue(value, () => `the value in ${unit} ${line}`);
  return { kind, key, value };
}

const FORM = `{"op":"put","key":"…","value":…}`;

function memberAt(bytes: Buffer, from: number, to: number): Member {
  const first = bytes[from];
  switch (to - from) {
    case 1:
      if (first === 0x6b) return KEY;
      if (first === 0x76) return VALUE;
      break;
    case 2:
      if (first === 0x6f && bytes[from + 1] === 0x70) return OP;
      break;
    case 3:
      if (first === 0x6b && bytes[from + 1] === 0x65 && bytes[from + 2] === 0x79) return KEY;
      break;
    default:
      break;
  }
  // "value", names that are unknown, and names with escapes.
  return MEMBERS.get(textAt(bytes, from - 1, to + 1)) ?? UNKNOWN;
}

function keyAt(bytes: Buffer, from: number, to: number, line: number, unit: Unit): Buffer {
  if (bytes[from] !== QUOTE) throw callError("bad-line", `${unit} ${line} has a key that is no JSON string: write it in quotes`);
  if (hasEscape(bytes, from, to)) {
    const escaped = utf8(textAt(bytes, from, to), `the key in ${unit} ${line}`);
    checkKey(escaped, () => `the key in ${unit} ${line}`);
    return escaped;
  }
  const key = bytes.subarray(from + 1, to - 1);
  if (key.length === 0 || key.length > KEY_BYTES_MAX) checkKey(key, () => `the key in ${unit} ${line}`);
  return key;
}

function kindAt(bytes: Buffer, from: number, to: number, line: number, unit: Unit): Mutation["kind"] {
  const op: unknown = JSON.parse(bytes.toString("utf8", from, to));
  if (op === "put" || op === "delete" || op === "patch") return op;
  throw callError("bad-line", `${unit} ${line} has op ${bytes.toString("utf8", from, Math.min(to, from + SHOWN_MAX))}: use "put", "delete" or "patch"`);
}

function base64At(bytes: Buffer, from: number, to: number, line: number, unit: Unit): Buffer {
  const text: unknown = bytes[from] === QUOTE ? textAt(bytes, from, to) : undefined;
  const value = typeof text === "string" ? Buffer.from(text, "base64") : undefined;
  if (value === undefined || value.toString("base64") !== text) {
    throw callError("bad-line", `${unit} ${line} has a value that is not base64: this table's values are bytes, written as a base64 string with its padding`);
  }
  return value;
}

/** The text of the JSON string `bytes[from … to)`. */
function textAt(bytes: Buffer, from: number, to: number): string {
  const text = bytes.toString("utf8", from + 1, to - 1);
  return text.includes("\\") ? JSON.parse(`"${text}"`) : text;
}

function hasEscape(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) {
    if (bytes[at] === BACKSLASH) return true;
  }
  return false;
}

/** Bytes of a wrong member that a message shows. */
const SHOWN_MAX = 60;

function given(line: number, unit: Unit, what: string): TidemarkError {
  return callError("bad-line", `${unit} ${line} gives ${what} twice: leave one of them away`);
}

function unknownMember(name: string, line: number, unit: Unit): TidemarkError {
  return callError("bad-line", `${unit} ${line} has a member ${name.slice(0, SHOWN_MAX)}, which means nothing here: it has op, key and value alone`);
}

function notAMutation(bytes: Buffer, start: number, end: number, line: number, unit: Unit): TidemarkError {
  checkJson(bytes.subarray(start, end), `${unit} ${line}`);
  return callError("bad-line", `${unit} ${line} is no JSON object: write it as ${FORM}`);
}
