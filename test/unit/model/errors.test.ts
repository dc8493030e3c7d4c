import { expect, test } from "vitest";
import { callError, damagedItem, damagedObject, isTidemarkError, messageOf, newerFormat } from "../../../lib/model/errors.ts";

test("an error says what the caller can do, which fault it is, and which object or item is damaged", () => {
  const cause = new Error("why");
  expect(callError("bad-name", "it is wrong", cause)).toMatchObject({ kind: "call", code: "bad-name", message: "it is wrong", cause, object: undefined });
  expect(damagedObject("a/b", "it is cut", cause)).toMatchObject({
    kind: "repair",
    code: "damaged-object",
    message: "a/b is damaged: it is cut",
    cause,
    object: "a/b",
  });
  expect(damagedItem("shard#a control", "no epoch", " (capture)")).toMatchObject({
    ...{ kind: "repair", code: "damaged-item", object: "shard#a control" },
    message: "the item shard#a control (capture) is damaged: no epoch",
  });
  expect(newerFormat("a/b", 3, 2)).toMatchObject({ kind: "call", code: "newer-format", message: expect.stringContaining("a/b has format version 3") });
});

test("whatever was thrown has words, and only our own errors have a kind", () => {
  expect([messageOf(new Error("words")), messageOf("words"), messageOf(undefined)]).toEqual(["words", "words", "undefined"]);
  expect([isTidemarkError(callError("c", "m")), isTidemarkError(new Error("m")), isTidemarkError({ kind: "call" })]).toEqual([true, false, false]);
});
