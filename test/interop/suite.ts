/** The official conformance suite, as a program of its own: what it says, and what it found. */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type InstalledPackage, installedPackage } from "../support/installed-package.ts";
import { node22 } from "./node-22.ts";

export const suite = await installedPackage("@modelcontextprotocol/conformance", "test/interop");
/** Its last stable version, which knows the revisions up to 2025-11-25. */
export const suiteOf2025 = await installedPackage("@modelcontextprotocol/conformance-2025", "test/interop");

export interface Check {
  scenario: string;
  id: string;
  status: "SUCCESS" | "FAILURE" | "WARNING" | "SKIPPED" | "INFO";
  errorMessage?: string;
}

export interface Verdict {
  exitCode: number | null;
  /** Everything it printed. */
  output: string;
  checks: readonly Check[];
}

// It waits five minutes for a browser that does not come.
const PATIENCE_MS = 360_000;

/** @param onLine gets each line that it prints, at once */
export async function runSuite(
  suite: InstalledPackage,
  args: readonly string[],
  onLine: (line: string) => void = () => {},
): Promise<Verdict> {
  const results = mkdtempSync(join(tmpdir(), "conformance-"));
  const child = spawn(node22, [suite.program("conformance"), ...args, "-o", results], {
    cwd: results,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: PATIENCE_MS,
  });
  const lines: string[] = [];
  const note = (line: string) => {
    lines.push(line);
    onLine(line);
  };
  createInterface(child.stdout).on("line", note);
  createInterface(child.stderr).on("line", note);
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const checks = readdirSync(results).flatMap((folder) => {
    const found: Check[] = JSON.parse(readFileSync(join(results, folder, "checks.json"), "utf8"));
    // A folder is `server-<scenario>-<time>` or `authorization-server-<scenario>-<time>`.
    const scenario = folder.replace(/^(authorization-)?server-/, "").replace(/-\d{4}-\d{2}-\d{2}T.*$/, "");
    return found.map((check) => ({ ...check, scenario }));
  });
  rmSync(results, { recursive: true });
  return { exitCode, output: lines.join("\n"), checks };
}

/** The names of its scenarios, by what they test. */
export function scenarios(suite: InstalledPackage): Record<"server" | "client" | "authorization", string[]> {
  const text = execFileSync(node22, [suite.program("conformance"), "list"], { encoding: "utf8" });
  const under = (heading: string) => {
    const [, section = ""] = text.split(`${heading} scenarios (`);
    const [names = ""] = section.split("\n\n");
    return [...names.matchAll(/^ {2}- (\S+)/gm)].map(([, name = ""]) => name);
  };
  return {
    server: under("Server"),
    client: under("Client"),
    authorization: under("Authorization server"),
  };
}

/** What went wrong, a line each. */
export function failures({ checks }: Verdict): string[] {
  return checks
    .filter(({ status }) => status === "FAILURE" || status === "WARNING")
    .map(({ scenario, id, status, errorMessage }) => `${scenario}: ${id} ${status} ${errorMessage ?? ""}`);
}
