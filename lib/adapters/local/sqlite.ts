// Node's SQLite, without the warning that it is new. Other warnings pass: the filter stands only while the module loads,
// which happens at once.

import { callError, damagedObject, isTidemarkError, TidemarkError } from "../../model/errors.ts";
import { noAccess, noSpace } from "./faults.ts";

export type Sqlite = typeof import("node:sqlite");

let loaded: Sqlite | undefined;

export function sqlite(): Sqlite {
  loaded ??= load();
  return loaded;
}

function load(): Sqlite {
  const emitWarning = process.emitWarning;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    if (!String(warning).startsWith("SQLite is an experimental feature")) Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
  try {
    return process.getBuiltinModule("node:sqlite");
  } finally {
    process.emitWarning = emitWarning;
  }
}

// https://www.sqlite.org/rescode.html; the low byte of a code says the kind.
const SQLITE_PERM = 3;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

/** An error of SQLite as a fault that says what the caller can do; `path` is the database's. */
export function sqliteFault(error: unknown, path: string): unknown {
  if (isTidemarkError(error) || !(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return error;
  switch (error.errcode & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return new TidemarkError("retry", "busy", `${path} is held by another process for too long: call again`, { cause: error });
    case SQLITE_FULL:
      return noSpace(path, error);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damagedObject(path, `${error.message}; restore it from a copy`, error);
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return noAccess(path, error);
    case SQLITE_CANTOPEN:
      return callError("no-access", `${path} cannot be opened: let this user read and write it and its directory`, error);
    case SQLITE_IOERR:
      return new TidemarkError("wait", "disk-fault", `the disk refuses to read or write ${path}: check its space and its health, then call again`, {
        cause: error,
      });
    default:
      return new TidemarkError("bug", "sqlite-fault", `${path} refused a statement: ${error.message}`, { cause: error });
  }
}
