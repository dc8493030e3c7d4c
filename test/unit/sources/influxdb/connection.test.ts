import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { damagedObject } from "../../../../lib/model/errors.ts";
import { addressInWords, exchange, exchangeAll, type Line, parseAddress, upload } from "../../../../lib/sources/influxdb/connection.ts";
import { listenAnywhere } from "../../../loopback.ts";
import { outcomeOf } from "./archives.ts";

const REQUEST = Buffer.from("request\n");

const servers: { readonly server: Server; readonly sockets: Set<Socket> }[] = [];

/** A server that does so with each connection; `left` is how many of them are open. */
async function serving(
  answer: (socket: Socket) => void,
): Promise<{ readonly line: Line; readonly left: () => number; readonly isAllClosed: () => Promise<boolean> }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
    // Else it never learns that the other side is gone.
    socket.once("end", () => socket.end());
    answer(socket);
  });
  servers.push({ server, sockets });
  const port = await listenAnywhere(server);
  return {
    line: { address: { host: "127.0.0.1", port }, silentMs: 5_000 },
    left: () => sockets.size,
    async isAllClosed() {
      for (let wait = 0; wait < 200 && sockets.size > 0; wait++) await sleep(5);
      return sockets.size === 0;
    },
  };
}

afterEach(async () => {
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  }
});

/** Calls once the whole request is there. */
function whenAsked(socket: Socket, then: (request: Buffer) => unknown, bytes = REQUEST.length): void {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    const all = Buffer.concat(chunks);
    if (all.length >= bytes && chunks.length > 0) then(all);
  });
}

const all = async (line: Line, request = REQUEST) => exchangeAll(line, request, 100 * 1024 * 1024);

describe("an address", () => {
  test.each([
    ["127.0.0.1", "127.0.0.1", 8088, "127.0.0.1:8088"],
    ["127.0.0.1:9", "127.0.0.1", 9, "127.0.0.1:9"],
    ["influx-1.example_x.org:65535", "influx-1.example_x.org", 65_535, "influx-1.example_x.org:65535"],
    ["[::1]:8089", "::1", 8089, "[::1]:8089"],
    ["[2001:DB8::5]", "2001:DB8::5", 8088, "[2001:DB8::5]:8088"],
    ["[::ffff:7f00:1]:1", "::ffff:7f00:1", 1, "[::ffff:7f00:1]:1"],
  ])("%s is read, and told as it would be written", (text, host, port, words) => {
    expect(parseAddress(text)).toEqual({ host, port });
    expect(addressInWords({ host, port })).toBe(words);
    expect(parseAddress(words)).toEqual({ host, port });
  });

  test.each([
    "",
    ":8088",
    "host:",
    "host:0",
    "host:65536",
    "host:123456",
    "host:-1",
    "host:8 ",
    "::1",
    "::1:8088",
    "[::1",
    "[::1]8088",
    "[]:1",
    "[host]:1",
    "a b",
    "http://host:8088",
    "host/x",
    "host:1:2",
    "é",
  ])("%j is none", (text) => {
    expect(() => parseAddress(text)).toThrow(expect.objectContaining({ kind: "call", code: "bad-address" }));
  });

  test("whatever the text, it is read, or refused as a wrong call", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."ab1:[].-09f/ é"), maxLength: 12 }), (text) => {
        try {
          const address = parseAddress(text);
          expect(parseAddress(addressInWords(address))).toEqual(address);
        } catch (error) {
          expect(error).toMatchObject({ kind: "call", code: "bad-address" });
        }
      }),
    );
  });

  test("port 0 is one only where any free port will do", () => {
    expect(parseAddress("host:0", 0)).toEqual({ host: "host", port: 0 });
  });
});

describe("an exchange", () => {
  test("sends the request in one piece, and gives the reply up to the end of the connection", async () => {
    const asked: Buffer[] = [];
    const { line, isAllClosed } = await serving((socket) => {
      whenAsked(socket, (request) => {
        asked.push(request);
        socket.end("reply");
      });
    });
    expect((await all(line)).toString()).toBe("reply");
    expect([asked.map(String), await isAllClosed()]).toEqual([["request\n"], true]);
  });

  test("an empty reply is empty", async () => {
    const { line, isAllClosed } = await serving((socket) => whenAsked(socket, () => socket.end()));
    expect([(await all(line)).length, await isAllClosed()]).toEqual([0, true]);
  });

  test("a reply that comes in pieces, with waits between them, is whole", async () => {
    const { line } = await serving((socket) =>
      whenAsked(socket, async () => {
        for (const piece of ["a", "bc", "def"]) {
          socket.write(piece);
          await sleep(20);
        }
        socket.end();
      }),
    );
    expect((await all(line)).toString()).toBe("abcdef");
  });

  test("a reply that is larger than the buffer is whole for a reader who is slow, though its chunks are one buffer", async () => {
    const reply = Buffer.alloc(3 * 1024 * 1024);
    for (let at = 0; at < reply.length; at += 4) reply.writeUInt32LE(at, at);
    const { line, isAllClosed } = await serving((socket) => whenAsked(socket, () => socket.end(reply)));
    const got: Buffer[] = [];
    for await (const chunk of exchange(line, REQUEST)) {
      if (got.length < 15) await sleep(5);
      got.push(Buffer.from(chunk));
    }
    expect(Buffer.concat(got).equals(reply)).toBe(true);
    expect(await isAllClosed()).toBe(true);
  });

  test("the time that the reader takes does not count as the server's silence", async () => {
    const reply = Buffer.alloc(1024 * 1024, 7);
    const { line, isAllClosed } = await serving((socket) => whenAsked(socket, () => socket.end(reply)));
    let bytes = 0;
    let slow = 3;
    for await (const chunk of exchange({ ...line, silentMs: 60 }, REQUEST)) {
      if (slow-- > 0) await sleep(150);
      bytes += chunk.length;
    }
    expect([bytes, await isAllClosed()]).toEqual([reply.length, true]);
  });

  test("a server that falls silent behind a slow reader is still found out", async () => {
    const { line, isAllClosed } = await serving((socket) => whenAsked(socket, () => socket.write("some")));
    const read = async () => {
      for await (const _ of exchange({ ...line, silentMs: 60 }, REQUEST)) await sleep(150);
    };
    expect([await outcomeOf(read()), await isAllClosed()]).toEqual(["silent-server", true]);
  });

  test.each<[string, (socket: Socket) => void, string]>([
    ["resets when it is asked", (socket) => whenAsked(socket, () => socket.resetAndDestroy()), "broken-connection"],
    [
      "resets within its reply",
      (socket) =>
        whenAsked(socket, () => {
          socket.write(Buffer.alloc(1000));
          setTimeout(() => socket.resetAndDestroy(), 30);
        }),
      "broken-connection",
    ],
    ["says nothing", (socket) => socket.resume(), "silent-server"],
    ["takes the request and says nothing", (socket) => whenAsked(socket, () => undefined), "silent-server"],
    ["falls silent within its reply", (socket) => whenAsked(socket, () => socket.write("some")), "silent-server"],
  ])("a server that %s is a fault, and nothing stays open", async (_, answer, code) => {
    const { line, isAllClosed } = await serving(answer);
    // A server that resets is waited for longer than a busy machine needs.
    expect(await outcomeOf(all(code === "silent-server" ? { ...line, silentMs: 150 } : line))).toBe(code);
    expect(await isAllClosed()).toBe(true);
  });

  test("a server that resets the connection at once is a fault, whether or not it came about", async () => {
    const { line, isAllClosed } = await serving((socket) => socket.resetAndDestroy());
    expect(["unreachable", "broken-connection"]).toContain(await outcomeOf(all(line)));
    expect(await isAllClosed()).toBe(true);
  });

  test("nobody at the address is a fault that names it", async () => {
    const { line } = await serving(() => undefined);
    const [{ server }] = servers.splice(-1);
    await new Promise((done) => server.close(done));
    await expect(all(line)).rejects.toMatchObject({ kind: "retry", code: "unreachable", message: expect.stringContaining(addressInWords(line.address)) });
  });

  test.each<[string, (socket: Socket, stop: () => void) => void]>([
    ["before it is connected", () => undefined],
    ["when it is connected", (_, stop) => stop()],
    ["when it has asked", (socket, stop) => whenAsked(socket, stop)],
    [
      "within the reply",
      (socket, stop) =>
        whenAsked(socket, () => {
          socket.write("some");
          setTimeout(stop, 30);
        }),
    ],
  ])("one that is stopped %s ends, and nothing stays open", async (moment, answer) => {
    const stop = new AbortController();
    const { line, isAllClosed } = await serving((socket) => answer(socket, () => stop.abort()));
    const outcome = outcomeOf(all({ ...line, signal: stop.signal }));
    if (moment === "before it is connected") stop.abort();
    expect([await outcome, await isAllClosed()]).toEqual(["interrupted", true]);
  });

  test("one whose signal is aborted already does not begin", async () => {
    const { line, left } = await serving(() => undefined);
    expect([await outcomeOf(all({ ...line, signal: AbortSignal.abort() })), left()]).toEqual(["interrupted", 0]);
  });

  test("one that is stopped while its reader has a chunk ends with the next", async () => {
    const stop = new AbortController();
    const { line, isAllClosed } = await serving((socket) => whenAsked(socket, () => socket.write(Buffer.alloc(2_000_000))));
    const read = async () => {
      for await (const _ of exchange({ ...line, signal: stop.signal }, REQUEST)) stop.abort();
    };
    expect([await outcomeOf(read()), await isAllClosed()]).toEqual(["interrupted", true]);
  });

  test("a reader that stops early closes the connection", async () => {
    const { line, isAllClosed } = await serving((socket) => whenAsked(socket, () => socket.write(Buffer.alloc(2_000_000))));
    for await (const _ of exchange(line, REQUEST)) break;
    expect(await isAllClosed()).toBe(true);
  });

  test("a reply to a short request has a limit, and what is over it is not waited for", async () => {
    const { line, isAllClosed } = await serving((socket) => whenAsked(socket, () => socket.write(Buffer.alloc(2_000_000))));
    expect(await outcomeOf(exchangeAll(line, REQUEST, 1_000_000))).toBe("bad-reply");
    expect(await isAllClosed()).toBe(true);
  });

  test("signals hear of no connection that is over", async () => {
    const stop = new AbortController();
    const { line } = await serving((socket) => whenAsked(socket, () => socket.end("x")));
    const added: unknown[] = [];
    const removed: unknown[] = [];
    const signal = Object.assign(stop.signal, {
      addEventListener: (_: string, listener: unknown) => added.push(listener),
      removeEventListener: (_: string, listener: unknown) => removed.push(listener),
    });
    for (let turn = 0; turn < 3; turn++) await all({ ...line, signal });
    await sleep(20);
    expect([added.length, removed]).toEqual([3, added]);
  });
});

describe("an upload", () => {
  const head = Buffer.from("head");
  async function* body(...pieces: readonly Buffer[]): AsyncGenerator<Buffer> {
    yield* pieces;
  }

  test("sends head and first piece by one write, then the rest, and answers once the server has ended the connection", async () => {
    const got: Buffer[] = [];
    const order: string[] = [];
    const { line, isAllClosed } = await serving((socket) => {
      socket.on("data", (chunk) => got.push(chunk));
      socket.removeAllListeners("end");
      socket.once("end", () => {
        setTimeout(() => {
          order.push("server");
          socket.end("done");
        }, 50);
      });
    });
    const large = Buffer.alloc(1024 * 1024, 5);
    const reply = await upload(line, head, body(Buffer.from("first"), large, Buffer.from("last")));
    order.push("client");
    expect([reply.toString(), order]).toEqual(["done", ["server", "client"]]);
    expect(got[0].subarray(0, 9).toString()).toBe("headfirst");
    expect(Buffer.concat(got).equals(Buffer.concat([Buffer.from("headfirst"), large, Buffer.from("last")]))).toBe(true);
    expect(await isAllClosed()).toBe(true);
  });

  test("one without a body sends its head alone", async () => {
    const got: Buffer[] = [];
    const { line } = await serving((socket) => socket.on("data", (chunk) => got.push(chunk)));
    expect((await upload(line, head, body())).length).toBe(0);
    expect(Buffer.concat(got).toString()).toBe("head");
  });

  test.each<[string, (socket: Socket) => void, string]>([
    ["resets within the body", (socket) => socket.once("data", () => socket.resetAndDestroy()), "broken-connection"],
    [
      "does not end",
      (socket) => {
        socket.removeAllListeners("end");
        socket.resume();
      },
      "silent-server",
    ],
    ["takes nothing", (socket) => socket.pause(), "silent-server"],
  ])("a server that %s is a fault, and nothing stays open", async (_, answer, code) => {
    const { line } = await serving(answer);
    const pieces = Array.from({ length: 100 }, () => Buffer.alloc(256 * 1024, 1));
    expect(await outcomeOf(upload({ ...line, silentMs: 150 }, head, body(...pieces)))).toBe(code);
  });

  test("the time that the body takes does not count as the server's silence", async () => {
    const { line } = await serving((socket) => socket.resume());
    async function* slow(): AsyncGenerator<Buffer> {
      for (let turn = 0; turn < 3; turn++) {
        await sleep(150);
        yield Buffer.alloc(100_000);
      }
    }
    expect((await upload({ ...line, silentMs: 60 }, head, slow())).length).toBe(0);
  });

  test.each<[string, (socket: Socket) => void]>([
    ["while the server takes nothing", (socket) => socket.pause()],
    [
      "while it waits for the server's end",
      (socket) => {
        socket.removeAllListeners("end");
        socket.resume();
      },
    ],
  ])("one that is stopped %s says so", async (_, answer) => {
    const stop = new AbortController();
    const { line } = await serving(answer);
    const pieces = Array.from({ length: 100 }, () => Buffer.alloc(256 * 1024, 1));
    setTimeout(() => stop.abort(), 100);
    expect(await outcomeOf(upload({ ...line, signal: stop.signal }, head, body(...pieces)))).toBe("interrupted");
  });

  test("a body that fails is the fault itself, and ends the connection, so that the archive is cut for the server", async () => {
    const { line, isAllClosed } = await serving((socket) => socket.resume());
    async function* failing(): AsyncGenerator<Buffer> {
      yield Buffer.from("first");
      throw damagedObject("attached/x", "it is cut off");
    }
    expect(await outcomeOf(upload(line, head, failing()))).toBe("damaged-object");
    expect(await isAllClosed()).toBe(true);
  });
});
