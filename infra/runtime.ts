/**
 * What Node and its allocator are told in every function: little room for young objects, as what is large lies outside of it, and one
 * arena, as one thread does nearly all of the work. Together they spare some 30 MB.
 */
export const RUNTIME_ENVIRONMENT = { NODE_OPTIONS: "--max-semi-space-size=2", MALLOC_ARENA_MAX: "1" } as const;

/**
 * The same of the function that captures. Told that its heap may have 2 GiB, V8 lets it grow to four times what lives on it, some 10 MB,
 * before it marks all of it; with the 884 MiB that it takes by itself of 1,769 to one and a half times, which costs a capture that
 * encodes everything a sixth more CPU, and spares it 10 to 25 MB. The limit itself is out of reach: the function's memory ends first.
 */
export const SNAPSHOT_ENVIRONMENT = { ...RUNTIME_ENVIRONMENT, NODE_OPTIONS: `${RUNTIME_ENVIRONMENT.NODE_OPTIONS} --max-old-space-size=2048` } as const;
