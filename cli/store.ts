// Opens a store from its URL. The SDK of AWS is loaded only where the URL asks for it.

import { fileURLToPath } from "node:url";
import { z } from "zod";
import { systemClock } from "../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../lib/adapters/local/random.ts";
import { initLocalStore, openLocalStore } from "../lib/adapters/local/store.ts";
import type { OpenStore } from "../lib/api/store.ts";
import { callError, type TidemarkError } from "../lib/model/errors.ts";
import type { Telemetry } from "../lib/ports/telemetry.ts";

export const STORE_DEFAULT = "file:.tidemark";

export type StoreUrl =
  | { readonly kind: "file"; readonly path: string }
  | {
      readonly kind: "s3";
      readonly bucket: string;
      /** Ends with a slash, or is empty. */
      readonly prefix: string;
      readonly table: string;
      readonly endpoint?: string | undefined;
      readonly region?: string | undefined;
      readonly checksums?: "none" | undefined;
    };

/** @throws {TidemarkError} `call` "bad-store-url" */
export function parseStoreUrl(text: string): StoreUrl {
  if (text.startsWith("file:")) return { kind: "file", path: filePath(text) };
  if (text.startsWith("s3:")) return s3Url(text);
  throw badUrl(text, `it starts with neither "file:" nor "s3:"`);
}

export async function initStore(url: StoreUrl): Promise<{ readonly kind: "created" } | { readonly kind: "exists" }> {
  if (url.kind === "file") return initLocalStore(url.path);
  const { initAwsStore } = await import("../lib/adapters/aws/init.ts");
  const { awsClients } = await import("../lib/adapters/aws/clients.ts");
  const clients = awsClients(url);
  try {
    return await initAwsStore({ ...clients, clock: systemClock() }, url);
  } finally {
    clients.close();
  }
}

export async function openStore(url: StoreUrl, telemetry: Telemetry): Promise<OpenStore> {
  if (url.kind === "file") {
    const { objects, checkpoints, close } = await openLocalStore(url.path);
    return { world: { objects, checkpoints, clock: systemClock(), random: cryptoRandom(), telemetry }, close };
  }
  const { aws } = await import("../lib/aws.ts");
  return aws({ ...url, telemetry }).open();
}

function filePath(text: string): string {
  const path = text.startsWith("file://") ? fileUrlPath(text) : text.slice("file:".length);
  if (path === "" || path.includes("\0")) throw badUrl(text, "it names no directory");
  return path;
}

function fileUrlPath(text: string): string {
  try {
    return fileURLToPath(text);
  } catch (error) {
    throw badUrl(text, "it is not a file URL of this machine", error);
  }
}

const S3_PARAMETERS = z.strictObject({
  table: z.string("it lacks ?table=DYNAMODB_TABLE").regex(/^[a-zA-Z0-9_.-]{3,255}$/, "table is not the name of a DynamoDB table"),
  endpoint: z.url({ protocol: /^https?$/, error: "endpoint is not an http or https URL" }).optional(),
  region: z
    .string()
    .regex(/^[a-z0-9-]+$/, "region is not the name of a region")
    .optional(),
  checksums: z.literal("none", 'checksums can only be "none"').optional(),
});

function s3Url(text: string): StoreUrl {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname)) throw badUrl(text, "it names no bucket");
  if (url.username !== "" || url.password !== "" || url.port !== "" || url.hash !== "") throw badUrl(text, "user, port and # have no meaning in it");
  const names = [...url.searchParams.keys()];
  if (new Set(names).size < names.length) throw badUrl(text, "it gives a parameter twice");
  const parameters = S3_PARAMETERS.safeParse(Object.fromEntries(url.searchParams));
  if (!parameters.success) throw badUrl(text, parameters.error.issues[0].message);
  return { kind: "s3", bucket: url.hostname, prefix: prefixOf(text, url.pathname), ...parameters.data };
}

function prefixOf(text: string, pathname: string): string {
  const prefix = decoded(text, pathname).replace(/^\//, "");
  return prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`;
}

function decoded(text: string, pathname: string): string {
  try {
    return decodeURIComponent(pathname);
  } catch (error) {
    throw badUrl(text, "its prefix is not well-formed", error);
  }
}

function badUrl(text: string, why: string, cause?: unknown): TidemarkError {
  const forms = "write file:PATH or s3://BUCKET/PREFIX?table=DYNAMODB_TABLE[&endpoint=URL][&region=REGION][&checksums=none]";
  return callError("bad-store-url", `${JSON.stringify(text)} is not the URL of a store: ${why}; ${forms}`, cause);
}
