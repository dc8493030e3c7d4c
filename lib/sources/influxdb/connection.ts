// One connection to a snapshotter: one request, and what comes back until the server ends it. Silence has a limit, and so
// has what is kept of a reply; a stopped job destroys the socket.

import { connect, type OnReadOpts, type Socket } from "node:net";
import { callError, isTidemarkError, messageOf, TidemarkError } from "../../model/errors.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Line {
  readonly address: Address;
  /** How long the server may say nothing, in ms. */
  readonly silentMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** How long a server may say nothing by default: it may flush a large cache before its first byte. */
export const SILENT_MS = 120_000;
export const DEFAULT_PORT = 8088;
const RECEIVE_BYTES = 256 * 1024;

/**
 * @param portMin 0 where any free port will do
 * @throws {TidemarkError} `call` "bad-address"
 */
export function parseAddress(text: string, portMin = 1): Address {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:]+)\]|([a-zA-Z0-9._-]+))(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits ?? DEFAULT_PORT);
  if (host === undefined || port < portMin || port > 65_535)
    throw callError("bad-address", `${JSON.stringify(text)} is not HOST:PORT: write the address of the server's snapshotter, as 127.0.0.1:${DEFAULT_PORT}`);
  return { host, port };
}

export function addressInWords({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Sends a request, and yields what comes back to the end of it. Each chunk is the reader's until it asks for the next: all lie in
 * one buffer, so that a long reply leaves nothing to the garbage collector.
 * @throws {TidemarkError} `retry` "unreachable", "broken-connection", "silent-server", "interrupted"
 */
export async function* exchange(line: Line, request: Buffer): AsyncGenerator<Buffer> {
  const inbox = inboxOf(RECEIVE_BYTES);
  const socket = await open(line, { buffer: inbox.buffer, callback: inbox.take });
  socket.once("end", inbox.end).once("error", inbox.fail).once("close", inbox.end);
  try {
    // By one write: older servers lose what a second segment brings.
    socket.write(request);
    for (let bytes = await inbox.next(); bytes !== undefined; bytes = await inbox.next()) {
      // What the reader takes is not the server's silence: the socket waits meanwhile.
      socket.setTimeout(0);
      yield bytes;
      inbox.done();
      socket.setTimeout(line.silentMs);
      socket.resume();
    }
  } catch (error) {
    throw brokenConnection(line, error);
  } finally {
    close(socket);
  }
}

interface Inbox {
  readonly buffer: Buffer;
  /** Called with what has arrived in the buffer; the socket waits until `done`. */
  readonly take: (bytes: number) => boolean;
  readonly end: () => void;
  readonly fail: (error: Error) => void;
  next(): Promise<Buffer | undefined>;
  done(): void;
}

/** Holds what has arrived last, until it is taken. */
function inboxOf(size: number): Inbox {
  const buffer = Buffer.allocUnsafeSlow(size);
  let arrived = 0;
  let ended = false;
  let fault: Error | undefined;
  let wake: () => void = () => undefined;
  return {
    buffer,
    take(bytes) {
      arrived = bytes;
      wake();
      return false;
    },
    end() {
      ended = true;
      wake();
    },
    fail(error) {
      fault = error;
      wake();
    },
    async next() {
      while (arrived === 0) {
        if (fault !== undefined) throw fault;
        if (ended) return undefined;
        await new Promise<void>((woken) => {
          wake = woken;
        });
      }
      return buffer.subarray(0, arrived);
    },
    done() {
      arrived = 0;
    },
  };
}

/** The whole reply, of at most so many bytes. */
export async function exchangeAll(line: Line, request: Buffer, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of exchange(line, request)) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new TidemarkError("retry", "bad-reply", `${addressInWords(line.address)} sent more than ${bytesMax} bytes for a short request`);
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks);
}

/** Sends a head and a body, and waits until the server ends the connection: not before that is it done with them. */
export async function upload(line: Line, head: Buffer, body: AsyncIterable<Buffer>): Promise<Buffer> {
  const socket = await open(line);
  try {
    // Nor is what the body takes: the server waits for it.
    socket.setTimeout(0);
    const [first, rest] = await firstOf(body);
    await write(line, socket, Buffer.concat([head, first]));
    for await (const chunk of rest) await write(line, socket, chunk);
    socket.setTimeout(line.silentMs);
    // The server ends behind the archive by itself; one that was cut ends by this.
    socket.end();
    const replies: Buffer[] = [];
    for await (const chunk of socket) replies.push(chunk as Buffer);
    return Buffer.concat(replies);
  } catch (error) {
    throw isTidemarkError(error) ? error : brokenConnection(line, error);
  } finally {
    close(socket);
  }
}

async function firstOf(body: AsyncIterable<Buffer>): Promise<readonly [Buffer, AsyncIterable<Buffer>]> {
  const iterator = body[Symbol.asyncIterator]();
  const first = await iterator.next();
  const rest = { [Symbol.asyncIterator]: () => iterator };
  return [first.done === true ? Buffer.alloc(0) : first.value, rest];
}

async function write({ silentMs }: Line, socket: Socket, bytes: Buffer): Promise<void> {
  if (socket.destroyed) throw socket.errored ?? new Error("the server ended the connection");
  socket.setTimeout(silentMs);
  await new Promise<void>((done, failed) => {
    // Whoever destroyed the socket said why; the write itself only says that it was given up.
    socket.write(bytes, (error) => (error == null ? done() : failed(socket.errored ?? error)));
  });
  socket.setTimeout(0);
}

function open(line: Line, onread?: OnReadOpts): Promise<Socket> {
  const { address, silentMs, signal } = line;
  if (signal?.aborted === true) throw interrupted();
  return new Promise<Socket>((done, failed) => {
    const socket = connect({ ...address, allowHalfOpen: true, noDelay: true, ...(onread && { onread }) });
    const abort = (): void => {
      socket.destroy(interrupted());
    };
    signal?.addEventListener("abort", abort, { once: true });
    socket.once("close", () => signal?.removeEventListener("abort", abort));
    socket.setTimeout(silentMs, () =>
      socket.destroy(new TidemarkError("retry", "silent-server", `${addressInWords(address)} said nothing for ${silentMs / 1_000} s: is it overloaded?`)),
    );
    const refuse = (error: Error): void =>
      failed(
        isTidemarkError(error)
          ? error
          : new TidemarkError(
              "retry",
              "unreachable",
              `${addressInWords(address)} cannot be reached: ${error.message}; is influxd running, and is this its "bind-address" (not that of [http])?`,
              { cause: error },
            ),
      );
    socket.once("error", refuse);
    socket.once("connect", () => {
      socket.off("error", refuse);
      // The reader or the writer learns of it; without a listener it would end the process.
      socket.on("error", () => undefined);
      done(socket);
    });
  });
}

function close(socket: Socket): void {
  socket.end();
  socket.destroy();
}

function brokenConnection({ address }: Line, error: unknown): TidemarkError {
  if (isTidemarkError(error)) return error;
  return new TidemarkError("retry", "broken-connection", `the connection to ${addressInWords(address)} broke: ${messageOf(error)}`, { cause: error });
}

function interrupted(): TidemarkError {
  return new TidemarkError("retry", "interrupted", "it was stopped");
}
