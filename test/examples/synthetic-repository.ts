// A repository of a few thousand commits with whatever a real one has: merges, renames, deletions, changes of mode, symbolic
// links, submodules, commits that change nothing, and names with spaces, quotes, line feeds and characters beyond ASCII.
// Made from a seed by `git fast-import`, in a second.

import { spawnSync } from "node:child_process";
import { seededRandom } from "../../bench/records.ts";

const NAMES = [
  "plain.txt",
  "with space.md",
  'with "quotes".js',
  "tab\tand\nline feed",
  "größe.txt",
  "日本語/ファイル.ts",
  "😀.json",
  "a\\b",
  "-dash",
  "deep/er/and/deeper/file",
];
const NO_TEXT = '"src/\\377\\376.bin"';
const MODES = ["100644", "100644", "100644", "100755", "120000"];

export interface Synthetic {
  /** On the first-parent chain. */
  readonly commits: number;
}

/** Makes a bare repository in an empty directory. */
export function makeRepository(directory: string, { commits }: Synthetic, seed = 1): void {
  run(directory, ["init", "--quiet", "--bare", "--initial-branch=main"]);
  run(directory, ["fast-import", "--quiet"], script(commits, seed));
}

function script(commits: number, seed: number): string {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const paths = new Set<string>();
  const lines: string[] = [];
  let mark = 0;

  const commit = (branch: string, parents: readonly number[], changes: readonly string[]): number => {
    mark++;
    const message = `change ${mark}`;
    lines.push(
      `commit refs/heads/${branch}`,
      `mark :${mark}`,
      `committer A <a@example.org> ${1_700_000_000 + mark * 60} +0000`,
      `data ${message.length}`,
      message,
    );
    for (const [place, parent] of parents.entries()) lines.push(`${place === 0 ? "from" : "merge"} :${parent}`);
    lines.push(...changes, "");
    return mark;
  };
  const write = (path: string): string => {
    const text = `${path} ${below(1_000_000)}`;
    return `M ${MODES[below(MODES.length)]} inline ${quote(path)}\ndata ${Buffer.byteLength(text)}\n${text}`;
  };
  /** On the main branch: what is there may be changed later. */
  const writeMain = (path: string): string => {
    paths.add(path);
    return write(path);
  };
  const newPath = (): string => `dir ${below(12)}/${below(40)}/${NAMES[below(NAMES.length)]}`;
  const anyPath = (): string => [...paths][below(paths.size)];
  const change = (): string => {
    const kind = below(10);
    if (kind < 5 || paths.size < 20) return writeMain(newPath());
    if (kind < 7) return writeMain(anyPath());
    const path = anyPath();
    paths.delete(path);
    if (kind < 9) return `D ${quote(path)}`;
    const renamed = newPath();
    paths.add(renamed);
    return `R ${quote(path)} ${quote(renamed)}`;
  };

  let head = commit("main", [], [writeMain("README.md"), `M 100644 inline ${NO_TEXT}\ndata 4\nbyte`]);
  for (let made = 1; made < commits; made++) {
    const submodule = below(40) === 0 ? [`M 160000 ${String(made).padStart(40, "a")} "vendor/sub module"`] : [];
    if (made % 17 === 0) {
      const side = commit("side", [head], [write(newPath())]);
      const sideTip = commit("side", [side], [write(newPath())]);
      const trunk = commit("main", [head], [change()]);
      head = commit("main", [trunk, sideTip], [writeMain(newPath()), writeMain(newPath())]);
      made++;
    } else {
      // A path may be written and deleted in one commit, or left as it was.
      const changes = made % 50 === 0 ? [] : Array.from({ length: 1 + below(6) }, change);
      head = commit("main", [head], [...changes, ...submodule]);
    }
  }
  return `${lines.join("\n")}\ndone\n`;
}

function quote(path: string): string {
  return `"${path.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n").replaceAll("\t", "\\t")}"`;
}

function run(directory: string, args: readonly string[], input = ""): void {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GIT_")));
  const { status, stderr } = spawnSync("git", [...args], { cwd: directory, env, input, encoding: "utf8" });
  if (status !== 0) throw new Error(`git ${args[0]} failed: ${stderr}`);
}
