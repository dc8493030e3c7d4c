// A JSON body as batches: one, {"producer":"p","sequence":"7","mutations":[…]}, or several of one producer,
// {"producer":"p","batches":[{"sequence":"7","mutations":[…]},…]}. A mutation is an object as in a line of NDJSON
// (mutation-line.ts).
//
// Guarantees: as for a line. A JSON value is the body's own bytes; the grammar is lib/model/json.ts's, for the whole body;
// what is not understood is refused with its place, and nothing of the body is handed out before all of it was read.
// Hot: every mutation of a body passes here. Its bytes are gone over as a whole, for the grammar, before anything is taken of
// them; nothing is allocated but what parseMutation makes, and a batch.

import { checkJson, skipSpace, valueEnd } from "../model/json.ts";
import { callError, type TidemarkError } from "../model/errors.ts";
import { checkProducer, type Mutation, type ValueCodec } from "../model/mutation.ts";
import { parseMutation } from "./mutation-line.ts";

/** A batch as its sender numbered it; without a mark, applied at least once. */
export interface BodyBatch {
  readonly mutations: readonly Mutation[];
  readonly mark?: { readonly producer: string; readonly sequence: bigint };
}

export interface BodyOptions {
  readonly codec: ValueCodec;
  /** Whether the body may hold several batches. */
  readonly many: boolean;
}

/** @throws {TidemarkError} `call`, naming the place: mutations are counted from 1, over the whole body. */
export function parseBatchBody(bytes: Buffer, { codec, many }: BodyOptions): readonly BodyBatch[] {
  checkJson(bytes, "the body");
  const reader = { bytes, codec, mutations: 0 };
  const body = membersAt(reader, skipSpace(bytes, 0, bytes.length), "the body", many ? BODY : ONE);
  const producer = body.producer && textAt(bytes, body.producer, "the producer");
  if (body.batches === undefined) return [batchOf(reader, body, "the body", producer)];
  if (body.mutations !== undefined || body.sequence !== undefined) {
    throw callError("bad-body", "the body has batches, and mutations or a sequence beside them: write those into a batch");
  }
  const batches: BodyBatch[] = [];
  for (let at = firstElement(bytes, body.batches, "batches"); bytes[at] !== ARRAY_CLOSE; ) {
    const what = `batch ${batches.length + 1}`;
    batches.push(batchOf(reader, membersAt(reader, at, what, BATCH), what, producer));
    at = behindComma(bytes, valueEnd(bytes, at, bytes.length));
  }
  if (batches.length === 0) throw callError("empty-body", "the body has no batches: send at least one");
  checkOrder(batches);
  return batches;
}

/** A sequence that is not above the one before would be taken for a repetition, and its batch for one that was applied. */
function checkOrder(batches: readonly BodyBatch[]): void {
  for (const [place, { mark }] of batches.entries()) {
    const before = place === 0 ? undefined : batches[place - 1].mark;
    if (mark === undefined || before === undefined || mark.sequence > before.sequence) continue;
    throw callError("bad-sequence", `batch ${place + 1} has a sequence that is not above that of the batch before: each must be greater`);
  }
}

/**
 * A mark of texts as they came.
 * @throws {TidemarkError} `call` where one is given without the other, or is none
 */
export function markOf(producer: string | undefined, sequence: string | undefined, what: string): BodyBatch["mark"] {
  if (producer === undefined && sequence === undefined) return undefined;
  if (producer === undefined) throw callError("bad-producer", `${what} has a sequence and no producer: give both, or none`);
  if (sequence === undefined) throw callError("bad-sequence", `${what} has a producer and no sequence: give both, or none`);
  if (!SEQUENCE.test(sequence)) throw callError("bad-sequence", `${what} has a sequence that is no whole number: write it in decimal digits`);
  const mark = { producer, sequence: BigInt(sequence) };
  checkProducer(mark.producer, mark.sequence);
  return mark;
}

/** The digits of 2^192 - 1 are 58: a longer text is not worth a look. */
const SEQUENCE = /^(?:0|[1-9][0-9]{0,57})$/;

const BODY = ["producer", "sequence", "mutations", "batches"] as const;
const ONE = ["producer", "sequence", "mutations"] as const;
const BATCH = ["sequence", "mutations"] as const;
type MemberName = (typeof BODY)[number];

const QUOTE = 0x22;
const COMMA = 0x2c;
const ARRAY_OPEN = 0x5b;
const ARRAY_CLOSE = 0x5d;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;

interface Reader {
  readonly bytes: Buffer;
  readonly codec: ValueCodec;
  /** Read so far. */
  mutations: number;
}

interface Span {
  readonly from: number;
  readonly to: number;
}

function batchOf(reader: Reader, members: Partial<Record<MemberName, Span>>, what: string, producer: string | undefined): BodyBatch {
  const { bytes, codec } = reader;
  const sequence = members.sequence && sequenceAt(bytes, members.sequence, what);
  const mark = markOf(producer, sequence, what);
  if (members.mutations === undefined) throw callError("bad-body", `${what} has no mutations: write it as ${FORM}`);
  const mutations: Mutation[] = [];
  for (let at = firstElement(bytes, members.mutations, "mutations"); bytes[at] !== ARRAY_CLOSE; ) {
    const end = valueEnd(bytes, at, bytes.length);
    reader.mutations += 1;
    mutations.push(parseMutation(bytes, at, end, reader.mutations, codec, "mutation"));
    at = behindComma(bytes, end);
  }
  if (mutations.length === 0) throw callError("empty-batch", `${what} has no mutations: send at least one`);
  return { mutations, ...(mark && { mark }) };
}

const FORM = `{"producer":"…","sequence":"…","mutations":[…]}`;

/** Where the values of an object's members lie. The body is known to be JSON. */
function membersAt({ bytes }: Reader, start: number, what: string, names: readonly MemberName[]): Partial<Record<MemberName, Span>> {
  if (bytes[start] !== OBJECT_OPEN) throw callError("bad-body", `${what} is no JSON object: write it as ${FORM}`);
  const members: Partial<Record<MemberName, Span>> = {};
  let at = skipSpace(bytes, start + 1, bytes.length);
  while (bytes[at] !== OBJECT_CLOSE) {
    const nameEnd = valueEnd(bytes, at, bytes.length);
    const text: unknown = JSON.parse(bytes.toString("utf8", at, nameEnd));
    const name = names.find((known) => known === text);
    if (name === undefined) throw unknownMember(what, names);
    if (members[name] !== undefined) throw callError("bad-body", `${what} gives its ${name} twice: leave one of them away`);
    const from = skipSpace(bytes, skipSpace(bytes, nameEnd, bytes.length) + 1, bytes.length);
    const to = valueEnd(bytes, from, bytes.length);
    members[name] = { from, to };
    at = behindComma(bytes, to);
  }
  return members;
}

/** Where an array's first element starts, or where the array ends. The body is known to be JSON. */
function firstElement(bytes: Buffer, { from }: Span, what: string): number {
  if (bytes[from] !== ARRAY_OPEN) throw callError("bad-body", `its ${what} are no JSON array: write them as [{…},{…}]`);
  return skipSpace(bytes, from + 1, bytes.length);
}

/** The next token behind a value, and behind the comma that may follow it. */
function behindComma(bytes: Buffer, end: number): number {
  const at = skipSpace(bytes, end, bytes.length);
  return bytes[at] === COMMA ? skipSpace(bytes, at + 1, bytes.length) : at;
}

function textAt(bytes: Buffer, { from, to }: Span, what: string): string {
  const text: unknown = bytes[from] === QUOTE ? JSON.parse(bytes.toString("utf8", from, to)) : undefined;
  if (typeof text !== "string") throw callError("bad-body", `${what} is no JSON string: write it in quotes`);
  return text;
}

/** A string of digits, or a number that every program reads alike. */
function sequenceAt(bytes: Buffer, span: Span, what: string): string {
  if (bytes[span.from] === QUOTE) return textAt(bytes, span, `the sequence of ${what}`);
  const text = bytes.toString("utf8", span.from, span.to);
  if (SEQUENCE.test(text) && Number.isSafeInteger(Number(text))) return text;
  throw callError("bad-sequence", `${what} has a sequence that is no whole number up to 2^53 - 1: write a greater one as a string`);
}

function unknownMember(what: string, names: readonly MemberName[]): TidemarkError {
  return callError("bad-body", `${what} has a member that means nothing here: it has ${names.join(", ")} alone`);
}
