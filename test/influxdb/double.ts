// A double of a snapshotter, for what a real one cannot be made to do: scripted by a function, or as a proxy that spoils what
// passes between a client and a real server. Both speak the dialect of InfluxDB 1.5 and later, with its type byte, or that of 1.0 to 1.4.

import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { listenAnywhere } from "../loopback.ts";

const MUX = 3;
const NEW_LINE = 0x0a;
const OPENING_BRACE = 0x7b;
const META_STORE_UPDATE = 6;
const SHARD_UPDATE = 7;
const TAR_BLOCK_BYTES = 512;
/** What was sent before a reset may be lost unless its receiver had time to read it. */
const BEFORE_RESET_MS = 30;

export type Dialect = "1.0" | "1.5";

export interface SnapshotterRequest {
  /** From 1, of all requests to this double, and of those of its type. */
  readonly nth: number;
  readonly nthOfType: number;
  readonly mux: number;
  /** The type byte; in the dialect of 1.0 what the JSON says. */
  readonly type: number;
  /** Of a shard update, which has no JSON, `{ ShardID }`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** What came with the head and behind it: that many bytes more, or with no number, all up to the client's FIN. */
  payload(bytes?: number): Promise<Buffer>;
}

export interface Double extends AsyncDisposable {
  /** "127.0.0.1:PORT". */
  readonly address: string;
  /** Every request so far, in the order in which their heads were whole. */
  readonly requests: readonly SnapshotterRequest[];
  /** Whether connections are open now. */
  open(): number;
}

/**
 * A server that hands each request to `answer`, which writes to the socket and ends it or lets it be. As a real one it closes
 * where the request is of the other dialect, is none, or where `answer` throws.
 */
export function startDouble(
  answer: (request: SnapshotterRequest, socket: Socket) => unknown,
  { dialect = "1.5" }: { readonly dialect?: Dialect } = {},
): Promise<Double> {
  return listen(async (socket, count) => {
    const input = inputOf(socket);
    const head = await headOf(input);
    if (head === undefined || head.dialect !== dialect) socket.end();
    else await answer(count({ ...head, payload: (bytes) => input.take(bytes) }), socket);
  });
}

/** What a proxy does to one request. */
export type Fault =
  /** The reply ends after that many bytes, which all arrive. */
  | { readonly kind: "cut"; readonly bytes: number; readonly by: "fin" | "rst" }
  /** 0 bytes and FIN, and the server is not asked. */
  | { readonly kind: "nothing" }
  /** The reply's first byte comes so much later. */
  | { readonly kind: "delay"; readonly ms: number }
  /** After that many bytes of the reply nothing comes any more, no end either. */
  | { readonly kind: "stall"; readonly bytes: number }
  /** What the client sent comes to the server in two segments, the first one of that many bytes. */
  | { readonly kind: "split"; readonly bytes: number }
  /** The tar of the reply lacks the files whose names match, and is whole otherwise: as after an error between two files. */
  | { readonly kind: "drop"; readonly files: RegExp }
  /** Another reply in its place. */
  | { readonly kind: "rewrite"; readonly reply: (reply: Buffer) => Uint8Array };

/** A double in front of the server at that address. Requests that get no fault pass as they are, in one segment each where the server must get them so. */
export function startProxy(upstream: string, fault: (request: SnapshotterRequest) => Fault | undefined): Promise<Double> {
  return listen(async (socket, count) => {
    const input = inputOf(socket);
    const head = await headOf(input);
    if (head === undefined) return void socket.end();
    const chosen = fault(count({ ...head, payload: () => Promise.reject(new Error("a proxy passes the payload on")) }));
    if (chosen?.kind === "nothing") return void socket.end();
    const server = connectTo(upstream);
    socket.once("close", () => server.destroy());
    await Promise.all([forward(input, head, server, chosen), reply(server, socket, chosen)]);
  });
}

/** The request up to its JSON or its payload, and with the payload that belongs to the head, in one write; then what follows. */
async function forward(input: Input, head: Head, server: Socket, fault: Fault | undefined): Promise<void> {
  const size = head.type === META_STORE_UPDATE && head.dialect === "1.5" ? Number(head.json.UploadSize ?? 0) : 0;
  const first = Buffer.concat([head.bytes, await input.take(size)]);
  server.setNoDelay(true);
  if (fault?.kind === "split") {
    server.write(first.subarray(0, fault.bytes));
    await pause(BEFORE_RESET_MS);
    server.write(first.subarray(fault.bytes));
  } else server.write(first);
  for (let chunk = await input.more(); chunk !== undefined; chunk = await input.more()) {
    if (!server.write(chunk)) await Promise.race([once(server, "drain"), once(server, "close")]);
  }
  server.end();
}

async function reply(server: Socket, socket: Socket, fault: Fault | undefined): Promise<void> {
  if (fault?.kind === "drop" || fault?.kind === "rewrite") {
    const whole = Buffer.concat(await server.toArray());
    socket.end(fault.kind === "drop" ? tarWithout(whole, fault.files) : fault.reply(whole));
    return;
  }
  let left = fault?.kind === "cut" || fault?.kind === "stall" ? fault.bytes : Number.POSITIVE_INFINITY;
  let late = fault?.kind === "delay" ? fault.ms : 0;
  const spoil = async (): Promise<void> => {
    if (fault?.kind === "cut" && fault.by === "fin") socket.end();
    if (fault?.kind !== "cut" || fault.by === "fin") return;
    await pause(BEFORE_RESET_MS);
    socket.resetAndDestroy();
  };
  if (left === 0) return await spoil();
  for await (const chunk of server as AsyncIterable<Buffer>) {
    await pause(late);
    late = 0;
    const passed = chunk.subarray(0, left);
    left -= passed.length;
    if (!socket.write(passed)) await Promise.race([once(socket, "drain"), once(socket, "close")]);
    if (left === 0) return await spoil();
  }
  socket.end();
}

/** The archive without the files of those names: its other bytes as they are, its end too. */
export function tarWithout(tar: Buffer, files: RegExp): Buffer {
  const kept: Buffer[] = [];
  let extendedFrom: number | undefined;
  for (let at = 0; at < tar.length; ) {
    const header = tar.subarray(at, at + TAR_BLOCK_BYTES);
    if (header[0] === 0) {
      kept.push(tar.subarray(at));
      break;
    }
    const end = at + TAR_BLOCK_BYTES * (1 + Math.ceil(Number.parseInt(textAt(header, 124, 12), 8) / TAR_BLOCK_BYTES));
    const from = extendedFrom ?? at;
    if (textAt(header, 156, 1) === "x") extendedFrom = from;
    else {
      const prefix = textAt(header, 345, 155);
      const name = (prefix === "" ? "" : `${prefix}/`) + textAt(header, 0, 100);
      if (!files.test(name)) kept.push(tar.subarray(from, end));
      extendedFrom = undefined;
    }
    at = end;
  }
  return Buffer.concat(kept);
}

function textAt(header: Buffer, at: number, length: number): string {
  const field = header.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
}

type Count = (request: Omit<SnapshotterRequest, "nth" | "nthOfType">) => SnapshotterRequest;

async function listen(serve: (socket: Socket, count: Count) => Promise<unknown>): Promise<Double> {
  const requests: SnapshotterRequest[] = [];
  const sockets = new Set<Socket>();
  const count: Count = (request) => {
    const counted = { ...request, nth: requests.length + 1, nthOfType: requests.filter(({ type }) => type === request.type).length + 1 };
    requests.push(counted);
    return counted;
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket)).on("error", () => {});
    serve(socket, count).catch(() => socket.destroy());
  });
  return {
    address: `127.0.0.1:${await listenAnywhere(server)}`,
    requests,
    open: () => sockets.size,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function connectTo(address: string): Socket {
  const [host, port] = address.split(":");
  return connect({ host, port: Number(port), allowHalfOpen: true }).on("error", () => {});
}

interface Head {
  readonly dialect: Dialect;
  readonly mux: number;
  readonly type: number;
  readonly json: Readonly<Record<string, unknown>>;
  /** All up to here, as it came. */
  readonly bytes: Buffer;
}

/** Undefined where what comes is no request. */
async function headOf(input: Input): Promise<Head | undefined> {
  const start = await input.take(2);
  const [mux, next] = start;
  if (mux !== MUX || next === undefined) return undefined;
  if (next === SHARD_UPDATE) {
    const id = await input.take(8);
    if (id.length < 8) return undefined;
    return { dialect: "1.5", mux, type: next, json: { ShardID: Number(id.readBigUInt64BE()) }, bytes: Buffer.concat([start, id]) };
  }
  const line = await input.takeLine();
  const dialect = next === OPENING_BRACE ? "1.0" : "1.5";
  const json: Readonly<Record<string, unknown>> = JSON.parse((dialect === "1.0" ? "{" : "") + line.toString());
  return { dialect, mux, type: dialect === "1.0" ? Number(json.Type ?? 0) : next, json, bytes: Buffer.concat([start, line]) };
}

interface Input {
  /** That many bytes, or fewer where the client ends before; with no number all up to its end. */
  take(bytes?: number): Promise<Buffer>;
  /** Up to a new line, with it. */
  takeLine(): Promise<Buffer>;
  /** What has come; undefined at the end. */
  more(): Promise<Buffer | undefined>;
}

function inputOf(socket: Socket): Input {
  const chunks: AsyncIterator<Buffer> = socket.iterator({ destroyOnReturn: false });
  let held: Buffer = Buffer.alloc(0);
  const read = async (): Promise<boolean> => {
    const { done, value } = await chunks.next();
    if (done !== true) held = Buffer.concat([held, value]);
    return done !== true;
  };
  const cut = (bytes: number): Buffer => {
    const taken = held.subarray(0, bytes);
    held = held.subarray(taken.length);
    return taken;
  };
  return {
    async take(bytes = Number.POSITIVE_INFINITY) {
      while (held.length < bytes && (await read()));
      return cut(Math.min(bytes, held.length));
    },
    async takeLine() {
      while (!held.includes(NEW_LINE) && (await read()));
      return cut(held.indexOf(NEW_LINE) + 1 || held.length);
    },
    async more() {
      while (held.length === 0 && (await read()));
      return held.length === 0 ? undefined : cut(held.length);
    },
  };
}
