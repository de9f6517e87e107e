/**
 * The attacks on what is sent to /mcp once more, by the way of requests that are not ordinary (src/server/straight-way.ts): no defence
 * is on one of the two ways alone.
 */
import { after } from "node:test";

process.env.TEST_WAY = "express";
// The files that come after this one in the same process go their own way.
after(() => {
  delete process.env.TEST_WAY;
});
// Anew: in the same process they may have run already.
for (const file of ["mcp-bad-input", "body-attacks", "batch-attacks"])
  await import(`./${file}.test.ts?through-express`);
