/** What tests of the command line share: running it as an operator does, beside a deployment that is running. */
import { runAdmin } from "../../src/cli/admin/program.ts";
import { builtProgram } from "../support/built-program.ts";
import type { Cluster } from "../support/cluster.ts";
import { type Ran, ran, ranAsProcess } from "../support/ran.ts";
import { AUDIENCE, SECRET_KEY } from "../support/test-server.ts";

type Deployment = Pick<Cluster, "baseUrl" | "redis" | "upstream">;

export type Admin = (args: readonly string[], environment?: Record<string, string>) => Promise<Ran>;

/** `npm run admin` with the environment of the deployment's servers, in this process: no terminal anywhere. */
export function adminOf(cluster: Deployment): Admin {
  return (args, environment = {}) =>
    ran((streams) => runAdmin(args, () => ({ ...environmentOf(cluster), ...environment }), streams));
}

/** The same as a process of its own. */
export function adminProcess(cluster: Deployment, environment: Record<string, string> = {}): Admin {
  return (args) =>
    ranAsProcess("src/cli/admin", args, { env: { ...environmentOf(cluster), ...environment } });
}

export const program = () => builtProgram("src/cli/admin");

export function environmentOf({ baseUrl, redis, upstream }: Deployment): Record<string, string> {
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
