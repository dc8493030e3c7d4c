/** What Node is told in every function: little room for young objects. What is large lies outside of it, and 20 MB are spared. */
export const NODE_OPTIONS = "--max-semi-space-size=2";
