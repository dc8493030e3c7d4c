// Thrift's compact protocol, as much of it as Parquet's footer, page headers and page indexes use. The reader is
// bounded by its bytes: a list cannot announce more than they can hold, nesting has a limit, and RangeError ends it. It holds
// no list of structures: a footer has one for each row group, and as objects they take more than a hundred times their bytes.

import { assert } from "../../model/assert.ts";

const BOOLEAN_TRUE = 1;
const BOOLEAN_FALSE = 2;
const BYTE = 3;
const I16 = 4;
const I32 = 5;
const I64 = 6;
const DOUBLE = 7;
const BINARY = 8;
const LIST = 9;
const SET = 10;
const STRUCT = 12;

const DEPTH_MAX = 16;

/** Writes one struct after the other. Ids of its fields ascend by less than 16. Integers are safe integers. */
export interface ThriftWriter {
  boolean(id: number, value: boolean): void;
  i32(id: number, value: number): void;
  i64(id: number, value: number): void;
  binary(id: number, value: Uint8Array | string): void;
  struct(id: number, fields: () => void): void;
  structs<T>(id: number, items: readonly T[], fields: (item: T) => void): void;
  i32s(id: number, items: readonly number[]): void;
  i64s(id: number, items: readonly number[]): void;
  booleans(id: number, items: readonly boolean[]): void;
  binaries(id: number, items: readonly (Uint8Array | string)[]): void;
  /** Ends the outermost struct, and gives its bytes, which stand until the writer begins another. */
  end(): Buffer;
}

export function thriftWriter(bytesExpected = 1_024): ThriftWriter {
  let out = Buffer.allocUnsafe(bytesExpected);
  let at = 0;
  let lastId = 0;

  function reserve(bytes: number): void {
    if (at + bytes <= out.length) return;
    const grown = Buffer.allocUnsafe(Math.max(out.length * 2, at + bytes));
    out.copy(grown, 0, 0, at);
    out = grown;
  }
  function byte(value: number): void {
    reserve(1);
    out[at++] = value;
  }
  function varint(value: number): void {
    reserve(10);
    while (value > 0x7f) {
      out[at++] = (value % 128) + 128;
      value = Math.floor(value / 128);
    }
    out[at++] = value;
  }
  /** Twice a safe integer is even, so that it is exact. An odd result is exact where the value is above -2^52. */
  function integer(value: number): void {
    varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }
  function bytes(value: Uint8Array | string): void {
    const length = typeof value === "string" ? Buffer.byteLength(value) : value.length;
    varint(length);
    reserve(length);
    if (typeof value === "string") out.write(value, at, length, "utf8");
    else out.set(value, at);
    at += length;
  }
  function field(id: number, type: number): void {
    assert(id > lastId && id - lastId < 16, "fields of a structure ascend, by less than 16");
    byte(((id - lastId) << 4) | type);
    lastId = id;
  }
  function nested(fields: () => void): void {
    const outer = lastId;
    lastId = 0;
    fields();
    byte(0);
    lastId = outer;
  }
  function list<T>(id: number, type: number, items: readonly T[], write: (item: T) => void): void {
    field(id, LIST);
    if (items.length < 15) byte((items.length << 4) | type);
    else {
      byte(0xf0 | type);
      varint(items.length);
    }
    for (const item of items) write(item);
  }

  return {
    boolean: (id, value) => field(id, value ? BOOLEAN_TRUE : BOOLEAN_FALSE),
    i32(id, value) {
      field(id, I32);
      integer(value);
    },
    i64(id, value) {
      field(id, I64);
      integer(value);
    },
    binary(id, value) {
      field(id, BINARY);
      bytes(value);
    },
    struct(id, fields) {
      field(id, STRUCT);
      nested(fields);
    },
    structs: (id, items, fields) => list(id, STRUCT, items, (item) => nested(() => fields(item))),
    i32s: (id, items) => list(id, I32, items, integer),
    i64s: (id, items) => list(id, I64, items, integer),
    booleans: (id, items) => list(id, BOOLEAN_TRUE, items, (item) => byte(item ? BOOLEAN_TRUE : BOOLEAN_FALSE)),
    binaries: (id, items) => list(id, BINARY, items, bytes),
    end() {
      byte(0);
      const struct = out.subarray(0, at);
      at = 0;
      lastId = 0;
      return struct;
    },
  };
}

type ThriftValue = boolean | number | Buffer | readonly ThriftValue[] | ThriftStruct | ThriftStructs;

/** A struct by field ids. Each getter throws RangeError where the field is missing or of another type. */
export class ThriftStruct {
  readonly #fields: ReadonlyMap<number, ThriftValue>;

  constructor(fields: ReadonlyMap<number, ThriftValue>) {
    this.#fields = fields;
  }

  has(id: number): boolean {
    return this.#fields.has(id);
  }

  /** A safe integer. */
  integer(id: number): number {
    return asInteger(this.#fields.get(id));
  }

  bytes(id: number): Buffer {
    return asBytes(this.#fields.get(id));
  }

  text(id: number): string {
    return this.bytes(id).toString("utf8");
  }

  struct(id: number): ThriftStruct {
    return asStruct(this.#fields.get(id));
  }

  structs(id: number): readonly ThriftStruct[] {
    return [...this.eachStruct(id)];
  }

  /** The same, for who takes one after the other. */
  eachStruct(id: number): ThriftStructs {
    return asStructs(this.#fields.get(id));
  }

  integers(id: number): readonly number[] {
    return asList(this.#fields.get(id)).map(asInteger);
  }

  binaries(id: number): readonly Buffer[] {
    return asList(this.#fields.get(id)).map(asBytes);
  }
}

/** The structs of a list, each read when its turn comes. */
export class ThriftStructs implements Iterable<ThriftStruct> {
  readonly #bytes: Buffer;
  readonly #start: number;
  readonly count: number;

  constructor(bytes: Buffer, start: number, count: number) {
    this.#bytes = bytes;
    this.#start = start;
    this.count = count;
  }

  *[Symbol.iterator](): Generator<ThriftStruct> {
    let at = this.#start;
    for (let i = 0; i < this.count; i++) {
      const { struct, end } = readThrift(this.#bytes, at);
      at = end;
      yield struct;
    }
  }
}

/** Reads the struct at `at`; `end` is behind it. Binaries are views of `bytes`. */
export function readThrift(bytes: Buffer, at = 0): { readonly struct: ThriftStruct; readonly end: number } {
  function byte(): number {
    if (at >= bytes.length) throw new RangeError("a structure is cut");
    return bytes[at++];
  }
  function varint(): number {
    let value = 0;
    for (let factor = 1; factor < 2 ** 63; factor *= 128) {
      const next = byte();
      value += (next & 0x7f) * factor;
      if (next <= 0x7f) return value;
    }
    throw new RangeError("an integer has more than 64 bits");
  }
  function integer(): number {
    const isOdd = bytes[at] % 2 === 1;
    const zigzag = varint();
    // An odd number beyond the safe ones has become an even one, and so the negative integer a positive one.
    if (isOdd && zigzag > Number.MAX_SAFE_INTEGER) throw new RangeError("an integer is out of range");
    const value = zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
    if (!Number.isSafeInteger(value)) throw new RangeError("an integer is out of range");
    return value;
  }
  function take(length: number): Buffer {
    if (length > bytes.length - at) throw new RangeError("a structure is cut");
    at += length;
    return bytes.subarray(at - length, at);
  }
  function value(type: number, depth: number): ThriftValue {
    switch (type) {
      case BYTE:
        return byte();
      case I16:
      case I32:
      case I64:
        return integer();
      case DOUBLE:
        return take(8).readDoubleLE(0);
      case BINARY:
        return take(varint());
      case LIST:
      case SET:
        return list(depth);
      case STRUCT:
        return struct(depth);
      default:
        throw new RangeError(`a field has the unknown type ${type}`);
    }
  }
  function list(depth: number): readonly ThriftValue[] | ThriftStructs {
    const head = byte();
    const count = head >> 4 === 15 ? varint() : head >> 4;
    const type = head & 15;
    if (count > bytes.length - at) throw new RangeError("a list is longer than its bytes");
    const start = at;
    const items: ThriftValue[] = [];
    for (let i = 0; i < count; i++) {
      // Read to find where it ends, and whether it is one.
      if (type === STRUCT) struct(depth + 1);
      else items.push(type <= BOOLEAN_FALSE ? byte() === BOOLEAN_TRUE : value(type, depth + 1));
    }
    return type === STRUCT ? new ThriftStructs(bytes, start, count) : items;
  }
  function struct(depth: number): ThriftStruct {
    if (depth > DEPTH_MAX) throw new RangeError("structures are nested too deeply");
    const fields = new Map<number, ThriftValue>();
    for (let id = 0; ; ) {
      const head = byte();
      if (head === 0) return new ThriftStruct(fields);
      id = head >> 4 === 0 ? integer() : id + (head >> 4);
      const type = head & 15;
      fields.set(id, type === BOOLEAN_TRUE || type === BOOLEAN_FALSE ? type === BOOLEAN_TRUE : value(type, depth + 1));
    }
  }
  return { struct: struct(0), end: at };
}

function asInteger(value: ThriftValue | undefined): number {
  if (typeof value !== "number") throw new RangeError("an integer is missing");
  return value;
}

function asBytes(value: ThriftValue | undefined): Buffer {
  if (!Buffer.isBuffer(value)) throw new RangeError("a text is missing");
  return value;
}

function asStruct(value: ThriftValue | undefined): ThriftStruct {
  if (!(value instanceof ThriftStruct)) throw new RangeError("a structure is missing");
  return value;
}

function asStructs(value: ThriftValue | undefined): ThriftStructs {
  if (!(value instanceof ThriftStructs)) throw new RangeError("a list of structures is missing");
  return value;
}

function asList(value: ThriftValue | undefined): readonly ThriftValue[] {
  if (!Array.isArray(value)) throw new RangeError("a list is missing");
  return value;
}
