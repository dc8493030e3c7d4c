import { expect, test } from "vitest";
import { groupsOf } from "../../../lib/model/groups.ts";

test.each([
  [[], []],
  [[1], [[1]]],
  [[1, 2], [[1, 2]]],
  [
    [1, 2, 3, 4, 5],
    [[1, 2], [3, 4], [5]],
  ],
])("%j in groups of two", (items, groups) => {
  expect([...groupsOf(items, 2)]).toEqual(groups);
});
