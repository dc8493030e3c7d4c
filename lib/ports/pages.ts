// Walks the pages of a store's listing or query, to their end and no further than a limit (I10).

import { TidemarkError } from "../model/errors.ts";
import { PAGES_MAX } from "../model/limits.ts";

/** Every page, from the first on. `fetch` is handed the cursor of the page before, nothing at first. */
export async function* pages<Cursor, Page extends { readonly next?: Cursor }>(
  fetch: (after: { readonly after?: Cursor }) => Promise<Page>,
): AsyncGenerator<Page> {
  let after: Cursor | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const got: Page = await fetch(after === undefined ? {} : { after });
    yield got;
    if (got.next === undefined) return;
    after = got.next;
  }
  throw new TidemarkError("bug", "endless-pages", `a listing or query has more than ${PAGES_MAX} pages`);
}
