import { expect, test } from "vitest";
import { duration, hundredths, parseAt, parseFlags, seconds, waitingTime, wholeNumber } from "../../cli/flags.ts";
import { parseStoreUrl } from "../../cli/store.ts";
import { exitOfShards, type ShardResult } from "../../cli/shards.ts";
import { EXIT, type ExitCode } from "../../cli/exit-codes.ts";
import { callError, TidemarkError } from "../../lib/model/errors.ts";

test("the URL of a store says all that it takes to open it", () => {
  expect(parseStoreUrl("file:.tidemark")).toEqual({ kind: "file", path: ".tidemark" });
  expect(parseStoreUrl("file:/var/lib/a b")).toEqual({ kind: "file", path: "/var/lib/a b" });
  expect(parseStoreUrl("file:///var/lib/a%20b")).toEqual({ kind: "file", path: "/var/lib/a b" });
  expect(parseStoreUrl("s3://states?table=control")).toEqual({ kind: "s3", bucket: "states", prefix: "", table: "control" });
  expect(parseStoreUrl("s3://states/prod/a?table=control&endpoint=http://localhost:4566&region=eu-north-1")).toEqual({
    kind: "s3",
    bucket: "states",
    prefix: "prod/a/",
    table: "control",
    endpoint: "http://localhost:4566",
    region: "eu-north-1",
  });
});

test.each([
  ["./.tidemark", "neither"],
  ["", "neither"],
  ["file:", "no directory"],
  ["file://host/share", "not a file URL of this machine"],
  ["s3://", "no bucket"],
  ["s3://Bad_Bucket/x?table=control", "no bucket"],
  ["s3://states/x", "lacks"],
  ["s3://states/x?table=a", "table is not the name"],
  ["s3://states/x?table=control&table=other", "twice"],
  ["s3://states/x?table=control&endpoint=localhost", "endpoint is not"],
  ["s3://states/x?table=control&region=Not%20One", "region is not"],
  ["s3://states/x?table=control&colour=red", "colour"],
  ["s3://me:secret@states/x?table=control", "user"],
  ["s3://states/%ff?table=control", "prefix is not well-formed"],
])("%s is refused as the URL of a store", (text, why) => {
  expect(() => parseStoreUrl(text)).toThrow(why);
});

test("--at is an index, or a time with its zone", () => {
  expect(parseAt("0")).toEqual({ index: 0 });
  expect(parseAt("1500")).toEqual({ index: 1500 });
  expect(parseAt("2026-11-01T12:00Z")).toEqual({ timeMs: Date.UTC(2026, 10, 1, 12) });
  expect(parseAt("2026-11-01T12:00:30.250+01:00")).toEqual({ timeMs: Date.UTC(2026, 10, 1, 11, 0, 30, 250) });
  for (const bad of ["2026-11-01", "2026-11-01 12:00", "2026-11-01T12:00", "2026-11-01T12:00:00.5"]) expect(() => parseAt(bad)).toThrow("has no time zone");
  for (const bad of ["", "-1", "1.5", "2026-13-01T12:00Z", "2026-02-30T12:00Z", "2026-11-01T25:00Z", "noon"]) expect(() => parseAt(bad)).toThrow("is neither");
});

test("durations, seconds and numbers are parsed whole, or refused with the flag's name", () => {
  expect(["0", "90s", "15m", "36h", "7d", "2w"].map((text) => duration.parse(text))).toEqual([0, 90_000, 900_000, 129_600_000, 604_800_000, 1_209_600_000]);
  expect(seconds(100).parse("0.25")).toBe(250);
  for (const bad of ["7", "d", "1y", "-1s", "1.5h", "1h30m"]) expect(duration.safeParse(bad).success).toBe(false);
  for (const bad of ["", "1e3", "0x10", "10 ", "99999999999999999"]) expect(wholeNumber(1).safeParse(bad).success).toBe(false);
  expect(() => parseFlags(seconds(1_000), "0.5")).toThrow("at least 1 seconds");
  expect(["0.5", "0.29", "1", "100", "0.01"].map((text) => hundredths(10_000).parse(text))).toEqual([50, 29, 100, 10_000, 1]);
  for (const bad of ["0", "0.001", "100.01", "50%", "-1", ".5"]) expect(hundredths(10_000).safeParse(bad).success, bad).toBe(false);
  expect([waitingTime.parse("60s"), waitingTime.safeParse("0").success]).toEqual([60_000, false]);
});

test("the exit code of several shards says the worst of them", () => {
  const done = (code: ExitCode): ShardResult<ExitCode> => ({ kind: "done", id: { table: "t", shard: 0 }, report: code });
  const failed = (error: unknown): ShardResult<ExitCode> => ({ kind: "failed", id: { table: "t", shard: 0 }, error });
  const exit = (...results: readonly ShardResult<ExitCode>[]): ExitCode => exitOfShards(results, (code) => code);
  const retry = new TidemarkError("retry", "no-answer", "no answer");
  expect(exit(done(0), done(0))).toBe(EXIT.complete);
  expect(exit(done(0), done(3))).toBe(EXIT.retry);
  expect(exit(done(0), failed(retry))).toBe(EXIT.partial);
  expect(exit(failed(retry), failed(callError("x", "x")))).toBe(EXIT.retry);
  expect(exit(done(5), failed(retry))).toBe(EXIT.damage);
  expect(exit(failed(new Error("unexpected")))).toBe(EXIT.fault);
});
