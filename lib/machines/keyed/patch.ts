// JSON merge patch (RFC 7396) from bytes to bytes.
//
// Guarantees: what a patch does not name stays byte for byte, whatever a double or a JavaScript object would make of it
// (12345678901234567890, 1e400, 1.10, "\u00e9", `__proto__`, the order of members); the result is a function of the two
// texts alone, is well-formed wherever they are, is nested no deeper than the deeper of them, and has no more bytes than
// both together. Where an object holds a name more than once the last one counts, as JSON.parse has it.
//
// The cost is a walk over the target for each level of the patch. bench/fold.ts measures it. Many patches of one value, as of a
// document that is changed again and again, cost one walk in all: it is taken apart once.

import { assert } from "../../model/assert.ts";
import { VALUE_BYTES_MAX } from "../../model/limits.ts";
import { skipSpace, textEnd, valueEnd } from "../../model/json.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const LETTER_N = 0x6e;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;

/** The value after the patch; `target` is absent where the key has none. Throws RangeError where one of them is not JSON. */
export function mergePatch(target: Buffer | undefined, patch: Buffer): Buffer {
  const result = Buffer.allocUnsafe((target?.length ?? 0) + patch.length);
  const length = writeMerged({ bytes: result, length: 0 }, target === undefined ? undefined : wholeText(target), wholeText(patch));
  assert(length <= result.length, "a merged text is not longer than both of its parts");
  return result.subarray(0, length);
}

/** As replay applies a patch: one whose result would be larger than a value may be leaves the value as it is. */
export function patchValue(target: Buffer | undefined, patch: Buffer, bytesMax = VALUE_BYTES_MAX): Buffer {
  const result = mergePatch(target, patch);
  return target !== undefined && result.length > bytesMax ? target : result;
}

/** As `patchValue` by each of the patches, in their order. */
export function patchValueByEach(target: Buffer | undefined, patches: Iterable<Buffer>, bytesMax = VALUE_BYTES_MAX): Buffer | undefined {
  let value = target;
  let isFirst = true;
  let apart: ObjectApart | undefined;
  let isChanged = false;

  function together(): Buffer | undefined {
    if (apart === undefined || !isChanged) return value;
    const result = Buffer.allocUnsafe(bytesOf(apart));
    const length = writeApart({ bytes: result, length: 0 }, apart);
    assert(length === result.length, "a patched text is as long as was reckoned");
    return result;
  }

  for (const patch of patches) {
    // The first by itself: often there is no other.
    if (value === undefined || isFirst || replacesValue(patch, 0, patch.length)) {
      value = patchValue(together(), patch, bytesMax);
      apart = undefined;
      isChanged = false;
    } else {
      apart ??= takenApart(wholeText(value));
      const change = patchOf(apart, wholeText(patch));
      if (bytesOf(apart, change.growsBy) <= bytesMax) {
        change.apply();
        isChanged = true;
      }
    }
    isFirst = false;
  }
  return together();
}

/** Throws RangeError where the bytes are not JSON, as `patchValue` does. */
export function checkText(bytes: Buffer): void {
  wholeText(bytes);
}

/** Whether the patch's result does not depend on the value before: all but objects replace it. */
export function replacesValue(bytes: Buffer, start: number, end: number): boolean {
  return bytes[skipSpace(bytes, start, end)] !== OBJECT_OPEN;
}

/** One JSON value within bytes, without white space around it. */
interface Text {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

interface Output {
  readonly bytes: Buffer;
  length: number;
}

/** A member of an object: its name with the quotes, and its value. */
interface Member {
  readonly name: string;
  readonly nameStart: number;
  readonly nameEnd: number;
  readonly value: Text;
}

/** MergePatch of RFC 7396, section 2. Returns the output's length. Recurses by the patch's depth, at most JSON_DEPTH_MAX. */
function writeMerged(output: Output, target: Text | undefined, patch: Text): number {
  if (!isObject(patch)) return writeRange(output, patch.bytes, patch.start, patch.end);
  const patchMembers = members(patch);
  const lastPatches = lastByName(patchMembers);
  const targetMembers = target !== undefined && isObject(target) ? members(target) : [];
  // For each target member the patch member of its name, and for each patch member the last target member; -1: none.
  const patchOf = targetMembers.map(({ name }) => lastPatches.get(name) ?? -1);
  const lastTarget = new Int32Array(patchMembers.length).fill(-1);
  for (let place = 0; place < patchOf.length; place += 1) {
    if (patchOf[place] >= 0) lastTarget[patchOf[place]] = place;
  }
  writeByte(output, OBJECT_OPEN);
  const start = output.length;
  for (let place = 0; place < targetMembers.length; place += 1) {
    const member = targetMembers[place];
    if (patchOf[place] < 0) {
      if (output.length > start) writeByte(output, COMMA);
      writeRange(output, member.value.bytes, member.nameStart, member.value.end);
    } else if (lastTarget[patchOf[place]] === place) {
      writeMember(output, start, member, member.value, patchMembers[patchOf[place]].value);
    }
  }
  for (let place = 0; place < patchMembers.length; place += 1) {
    const member = patchMembers[place];
    if (lastPatches.get(member.name) !== place || lastTarget[place] >= 0) continue;
    writeMember(output, start, member, undefined, member.value);
  }
  return writeByte(output, OBJECT_CLOSE);
}

/** The member `named` with the patched value; nothing where the patch is null. */
function writeMember(output: Output, start: number, named: Member, value: Text | undefined, patch: Text): void {
  if (patch.bytes[patch.start] === LETTER_N) return;
  if (output.length > start) writeByte(output, COMMA);
  writeRange(output, named.value.bytes, named.nameStart, named.nameEnd);
  writeByte(output, COLON);
  writeMerged(output, value, patch);
}

/** An object whose members are found by name, so that patches change it in place. */
interface ObjectApart {
  /** In their order; nothing where one was taken away. */
  readonly members: (MemberApart | undefined)[];
  /** The place of each name's last member. */
  readonly places: Map<string, number>;
  /** Places of members whose name comes again: they stay until the name is patched. */
  readonly earlier: Map<string, number[]>;
  /** Bytes of the members, each with a comma. */
  membersBytes: number;
}

interface MemberApart {
  readonly named: Member;
  /** What it is now; nothing where it is still as it was, white space around its colon included. */
  value?: Text | ObjectApart;
  /** The same, taken apart for a patch that had no effect. */
  taken?: ObjectApart;
}

/** What a patch does to an object: known before it is done, as one that would make the value too large is not. */
interface ObjectChange {
  /** Bytes of the object's members, with their commas. */
  readonly growsBy: number;
  readonly apply: () => void;
}

function takenApart(text: Text): ObjectApart {
  const apart: ObjectApart = { members: [], places: new Map(), earlier: new Map(), membersBytes: 0 };
  if (!isObject(text)) return apart;
  for (const named of members(text)) {
    const before = apart.places.get(named.name);
    const earlier = apart.earlier.get(named.name);
    if (earlier !== undefined && before !== undefined) earlier.push(before);
    else if (before !== undefined) apart.earlier.set(named.name, [before]);
    apart.places.set(named.name, apart.members.push({ named }) - 1);
    apart.membersBytes += bytesOfMember({ named });
  }
  return apart;
}

/** Of the object as it is written, once its members have grown by so many. */
function bytesOf({ membersBytes }: ObjectApart, growsBy = 0): number {
  return 2 + Math.max(0, membersBytes + growsBy - 1);
}

/** With a comma. */
function bytesOfMember({ named, value }: MemberApart): number {
  if (value === undefined) return named.value.end - named.nameStart + 1;
  return bytesOfNamed(named, "members" in value ? bytesOf(value) : value.end - value.start);
}

function bytesOfNamed({ nameStart, nameEnd }: Member, valueBytes: number): number {
  return nameEnd - nameStart + 1 + valueBytes + 1;
}

/** MergePatch by a patch that is an object; as `writeMerged`. */
function patchOf(apart: ObjectApart, patch: Text): ObjectChange {
  const patchMembers = members(patch);
  const lastPatches = lastByName(patchMembers);
  const changes: ObjectChange[] = [];
  for (const [at, named] of patchMembers.entries()) {
    if (lastPatches.get(named.name) !== at) continue;
    for (const earlier of apart.earlier.get(named.name) ?? []) changes.push(removalOf(apart, earlier));
    const place = apart.places.get(named.name);
    const member = place === undefined ? undefined : apart.members[place];
    if (named.value.bytes[named.value.start] === LETTER_N) {
      if (place !== undefined) changes.push(removalOf(apart, place));
    } else changes.push(member === undefined ? additionOf(apart, named) : changeOf(member, named.value));
  }
  const growsBy = changes.reduce((sum, change) => sum + change.growsBy, 0);
  return {
    growsBy,
    apply() {
      for (const change of changes) change.apply();
      apart.membersBytes += growsBy;
    },
  };
}

function removalOf(apart: ObjectApart, place: number): ObjectChange {
  const member = apart.members[place];
  assert(member !== undefined, "what is taken away is there");
  const { name } = member.named;
  return {
    growsBy: -bytesOfMember(member),
    apply() {
      apart.members[place] = undefined;
      apart.earlier.delete(name);
      if (apart.places.get(name) === place) apart.places.delete(name);
    },
  };
}

function additionOf({ members: all, places }: ObjectApart, named: Member): ObjectChange {
  const { bytes, start, end } = named.value;
  // Most members that are new are not patched again.
  const value = isObject(named.value) ? wholeText(mergePatch(undefined, bytes.subarray(start, end))) : named.value;
  return {
    growsBy: bytesOfNamed(named, value.end - value.start),
    apply() {
      places.set(named.name, all.push({ named, value }) - 1);
    },
  };
}

function changeOf(member: MemberApart, patch: Text): ObjectChange {
  const before = bytesOfMember(member);
  if (!isObject(patch)) {
    return {
      growsBy: bytesOfNamed(member.named, patch.end - patch.start) - before,
      apply() {
        member.value = patch;
        delete member.taken;
      },
    };
  }
  const { value = member.named.value } = member;
  const inner = "members" in value ? value : (member.taken ?? takenApart(value));
  member.taken = inner;
  const change = patchOf(inner, patch);
  return {
    growsBy: bytesOfNamed(member.named, bytesOf(inner, change.growsBy)) - before,
    apply() {
      change.apply();
      member.value = inner;
    },
  };
}

function writeApart(output: Output, apart: ObjectApart): number {
  writeByte(output, OBJECT_OPEN);
  const start = output.length;
  for (const member of apart.members) {
    if (member === undefined) continue;
    if (output.length > start) writeByte(output, COMMA);
    const { named, value } = member;
    writeRange(output, named.value.bytes, named.nameStart, value === undefined ? named.value.end : named.nameEnd);
    if (value === undefined) continue;
    writeByte(output, COLON);
    if ("members" in value) writeApart(output, value);
    else writeRange(output, value.bytes, value.start, value.end);
  }
  return writeByte(output, OBJECT_CLOSE);
}

/** The members of an object in their order. */
function members({ bytes, start, end }: Text): readonly Member[] {
  const list: Member[] = [];
  let at = skipSpace(bytes, start + 1, end);
  while (bytes[at] === QUOTE) {
    const nameStart = at;
    const nameEnd = valueEnd(bytes, at, end);
    const valueStart = skipSpace(bytes, skipSpace(bytes, nameEnd, end) + 1, end);
    const memberEnd = valueEnd(bytes, valueStart, end);
    list.push({ name: nameOf(bytes, nameStart, nameEnd), nameStart, nameEnd, value: { bytes, start: valueStart, end: memberEnd } });
    at = skipSpace(bytes, memberEnd, end);
    if (bytes[at] === COMMA) at = skipSpace(bytes, at + 1, end);
  }
  assert(bytes[at] === OBJECT_CLOSE && at + 1 === end, "an object ends with a brace");
  return list;
}

/** "a" and "\u0061" are one name. */
function nameOf(bytes: Buffer, start: number, end: number): string {
  for (let at = start; at < end; at += 1) {
    if (bytes[at] === BACKSLASH) return String(JSON.parse(bytes.toString("utf8", start, end)));
  }
  return bytes.toString("utf8", start + 1, end - 1);
}

/** The place of each name's last member. */
function lastByName(list: readonly Member[]): ReadonlyMap<string, number> {
  const places = new Map<string, number>();
  for (const [place, { name }] of list.entries()) places.set(name, place);
  return places;
}

function wholeText(bytes: Buffer): Text {
  const end = textEnd(bytes);
  // They were checked before they were appended: these are no bytes that a writer wrote.
  if (end < 0) throw new RangeError("a value or a patch is not JSON");
  return { bytes, start: skipSpace(bytes, 0, end), end };
}

function isObject({ bytes, start }: Text): boolean {
  return bytes[start] === OBJECT_OPEN;
}

function writeByte(output: Output, byte: number): number {
  output.bytes[output.length] = byte;
  output.length += 1;
  return output.length;
}

function writeRange(output: Output, bytes: Buffer, start: number, end: number): number {
  bytes.copy(output.bytes, output.length, start, end);
  output.length += end - start;
  return output.length;
}
