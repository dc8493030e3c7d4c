// A door to S3 that the test watches: it passes every request on, keeps what was asked, and can keep back the replies to one request.

import { createServer, request as send } from "node:http";
import { listenAnywhere } from "../../loopback.ts";

export interface Proxy {
  readonly url: string;
  /** Method and path with query of each request that was passed on, in their order. */
  readonly passed: readonly string[];
  /**
   * To the first request that matches, and to that one where it is sent again, no reply comes: S3 has done what was asked. A client that
   * gives up on a silent connection before the function is killed gets no further.
   */
  keepReplyOf(matches: (request: string) => boolean): void;
  /** From now on every reply comes. */
  reply(): void;
  /** The request whose reply was kept back, once it was. */
  readonly kept: string | undefined;
  close(): void;
}

export async function startProxy(endpoint: string): Promise<Proxy> {
  const { hostname, port } = new URL(endpoint);
  const passed: string[] = [];
  let matches: ((request: string) => boolean) | undefined;
  let kept: string | undefined;
  const server = createServer((incoming, reply) => {
    const asked = `${incoming.method} ${incoming.url}`;
    passed.push(asked);
    const isKept = matches !== undefined && (kept === undefined ? matches(asked) : asked === kept);
    const onward = send({ hostname, port, method: incoming.method, path: incoming.url, headers: incoming.headers }, (answer) => {
      if (isKept) {
        kept = asked;
        answer.resume();
        return;
      }
      reply.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(reply);
    });
    onward.on("error", () => reply.destroy());
    incoming.pipe(onward);
  });
  return {
    url: `http://127.0.0.1:${await listenAnywhere(server)}`,
    passed,
    keepReplyOf(wanted) {
      matches = wanted;
    },
    reply() {
      matches = undefined;
    },
    get kept() {
      return kept;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
