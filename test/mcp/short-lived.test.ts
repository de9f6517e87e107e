/** What belongs to a call is gone when the call is over: V8 need not move it to the old objects (src/mcp/transport/direct-transport.ts). */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** 11,400 on Node 24 and 14,900 on Node 20, most of it the SDK's and zod's; with all of the call it was 21,400 and 26,600. */
const MOST_BYTES = 20_000;

test("little of a call outlives it", async (t) => {
  const program = fileURLToPath(new URL("promoted-per-call.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", "--import", "tsx", program]);
  t.diagnostic(`${stdout} bytes of a call`);
  assert.ok(Number(stdout) > 0 && Number(stdout) < MOST_BYTES, stdout);
});
