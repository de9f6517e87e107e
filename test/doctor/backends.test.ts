/** The doctor and the servers behind this one. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { askingServices } from "../../src/cli/doctor/program.ts";
import { loadConfig } from "../../src/config/config.ts";
import { loadOffered } from "../../src/server/offered.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { eventually } from "../support/eventually.ts";
import { NOTHING_WORKS } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "doctor-backends-"));
after(() => rmSync(folder, { recursive: true }));

test("doctor: a program behind the server is ended when the doctor has its answer", async () => {
  const [journal, program, CONFIG_FILE] = ["pid", "program.mjs", "server.yaml"].map((name) =>
    join(folder, name),
  );
  assert.ok(journal && program && CONFIG_FILE);
  writeFileSync(
    program,
    `import { writeFileSync } from "node:fs";
     process.stdin.on("end", () => process.exit()).resume();
     writeFileSync(${JSON.stringify(journal)}, String(process.pid));`,
  );
  const command = JSON.stringify([process.execPath, program]);
  writeFileSync(
    CONFIG_FILE,
    `resources:\n  /files: { name: Files, command: ${command}, scopes: { a: A }, needs: {} }\n`,
    { mode: 0o600 },
  );
  const config = loadConfig({ ...NOTHING_WORKS, CONFIG_FILE });
  const records = memoryStore();
  const isRunning = () => {
    try {
      return process.kill(Number(readFileSync(journal, "utf8")), 0);
    } catch {
      return false;
    }
  };
  await askingServices(config, await loadOffered(config), records, async () => {
    await eventually("it is started", () => existsSync(journal) && isRunning());
  });
  await records.close();
  await eventually("it has ended", () => !isRunning());
});
