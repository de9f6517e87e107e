/** A CONFIG_FILE of a test: what it is loaded as, and the problems in it, with places that are the same on every machine. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of a file of settings
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { type Config, ConfigError, loadConfig } from "../../src/config/config.ts";

type Environment = Record<string, string | undefined>;

export const STAFF = `identityProviders:
  staff:
    issuer: https://acme.okta.com
    clientId: proxy
    clientSecret: \${STAFF_SECRET}
`;

/** Of the file that calls this. */
export function useConfigFile() {
  const folder = mkdtempSync(join(tmpdir(), "config-file-"));
  after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "server.yaml");
  const environment = {
    BASE_URL: "https://mcp.example.com",
    STORE: "memory",
    SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
    STAFF_SECRET: "a-secret-of-staff",
    CONFIG_FILE: path,
  };

  function write(content: string | Buffer): void {
    writeFileSync(path, content, { mode: 0o600 });
  }

  function load(content: string | Buffer, more: Environment = {}): Config {
    write(content);
    return loadConfig({ ...environment, ...more });
  }

  function problemsOf(content: string | Buffer | undefined, more: Environment = {}): string[] {
    if (content !== undefined) write(content);
    try {
      loadConfig({ ...environment, ...more });
      return [];
    } catch (error) {
      assert.ok(error instanceof ConfigError, String(error));
      for (const { setting, problem, remedy } of error.problems) {
        assert.ok(setting.length > 0);
        assert.match(problem, /^[a-z]/);
        assert.match(remedy, /^[a-z].*[^.:]$/);
      }
      return error.message
        .split("\n")
        .filter((line) => line.startsWith("  - "))
        .map((line) => line.slice(4).replaceAll(path, "server.yaml").replaceAll(folder, "FOLDER"));
    }
  }

  return { folder, path, environment, write, load, problemsOf };
}

/** One for each that is expected, in this order. */
export function assertProblems(problems: readonly string[], expected: ReadonlyArray<string | RegExp>): void {
  assert.equal(problems.length, expected.length, problems.join("\n"));
  for (const [index, each] of expected.entries())
    if (typeof each === "string") assert.equal(problems[index], each);
    else assert.match(problems[index] ?? "", each);
}
