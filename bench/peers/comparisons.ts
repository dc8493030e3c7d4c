// Which tasks are comparable, and by what. A row names the comparisons that it stands in.

export const MEASURES = ["seconds", "CPU s", "MB up", "MB down", "peak RSS", "snapshot bytes"] as const;

export type Measure = (typeof MEASURES)[number];

export const COMPARISONS = {
  "1 % uniform made durable": ["MB up"],
  "1 % uniform in a new full state": ["seconds", "CPU s", "MB up", "MB down", "peak RSS"],
  "1 % range in a new full state": ["seconds", "CPU s", "MB up", "MB down", "peak RSS"],
  "full rewrite beside its bound": ["CPU s"],
  "recovery to a verified file": ["seconds", "CPU s", "MB down", "peak RSS"],
  "size of a snapshot": ["snapshot bytes"],
} as const satisfies Record<string, readonly Measure[]>;

export type Comparison = keyof typeof COMPARISONS;
