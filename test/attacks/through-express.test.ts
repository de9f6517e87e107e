/**
 * The attacks on what is sent to /mcp once more, by the way of requests that are not ordinary (src/server/straight-way.ts): no defence
 * is on one of the two ways alone.
 */
process.env.TEST_WAY = "express";
await import("./mcp-bad-input.test.ts");
await import("./body-attacks.test.ts");
await import("./batch-attacks.test.ts");
