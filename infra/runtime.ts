/**
 * What Node and its allocator are told in every function: little room for young objects, as what is large lies outside of it, and one
 * arena, as one thread does nearly all of the work. Together they spare some 30 MB.
 */
export const RUNTIME_ENVIRONMENT = { NODE_OPTIONS: "--max-semi-space-size=2", MALLOC_ARENA_MAX: "1" } as const;
