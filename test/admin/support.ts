/** What tests of the command line share: running it as an operator does, beside a deployment that is running. */
import { execFile, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import type { Cluster } from "../support/cluster.ts";
import { AUDIENCE, SECRET_KEY } from "../support/stage.ts";

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

export type Admin = (args: readonly string[], environment?: Record<string, string>) => Promise<Ran>;

/** The command as it is shipped, built where it finds its dependencies. */
export async function buildAdmin(): Promise<{ program: string; remove(): Promise<void> }> {
  const folder = `node_modules/.cache/admin-${process.pid}`;
  await promisify(execFile)("npx", ["tsc", "-p", "tsconfig.build.json", "--outDir", folder]);
  return { program: `${folder}/admin.js`, remove: () => rm(folder, { recursive: true }) };
}

/** `npm run admin` with the environment of the deployment's servers. */
export function adminOf(cluster: Cluster, program: string): Admin {
  return async (args, environment = {}) => {
    const child = spawn(process.execPath, [program, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...environmentOf(cluster), ...environment },
    });
    const code = new Promise<number | null>((resolve) => child.once("close", resolve));
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    return { code: await code, stdout, stderr };
  };
}

export function environmentOf({ baseUrl, redis, upstream }: Cluster): Record<string, string> {
  return {
    PATH: process.env.PATH ?? "",
    TZ: "Europe/Berlin",
    BASE_URL: baseUrl,
    OIDC_ISSUER: `http://localhost:${upstream.port}`,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    OIDC_AUDIENCE: AUDIENCE,
    REDIS_URL: redis.url,
    SECRET_KEY,
    UPSTREAM_TIMEOUT_SECONDS: "2",
  };
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into objects of every shape
export function jsonLines(stdout: string): any[] {
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

/** Characters that a terminal does something with, beside ends of lines. */
export const DANGEROUS = /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/u;
