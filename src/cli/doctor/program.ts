/** The program itself: the version of Node it runs on, what it offers, its policy, and where it writes its audit log. */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { readPolicy } from "../../access/live-policy.ts";
import { createPolicy, type Policy } from "../../access/policy.ts";
import { PolicyError } from "../../access/policy-file.ts";
import { checkAuditFile } from "../../audit/audit.ts";
import type { Config } from "../../config/config.ts";
import { createOidcProvider } from "../../identity/oidc/oidc.ts";
import { type Features, knownNames } from "../../mcp/authoring/features.ts";
import { scopeCatalogue } from "../../oauth/scope-catalogue.ts";
import { packageManifest } from "../../runtime/package.ts";
import { systemClock } from "../../runtime/runtime.ts";
import { buildServices, type Services } from "../../server/services.ts";
import type { KeyValueStore } from "../../storage/store.ts";
import { loadTracing } from "../../telemetry/load-tracing.ts";
import { type Finding, failure, ok, settingFailure, warning } from "./finding.ts";

/** Of which the code name is known for long-term support (`process.release.lts`), such as `Jod`. */
export interface NodeRelease {
  version: string;
  lts?: string | undefined;
}

/** Until when a line gets fixes of security is nothing that a program knows; whether it is one of those that do, Node says. */
export function checkNode({ version, lts }: NodeRelease): Finding {
  const check = "program.node";
  const least: string = packageManifest().engines.node;
  const [leastMajor = 0, leastMinor = 0] = numbers(least);
  const [major = 0, minor = 0] = numbers(version);
  const install = "Install the current LTS line of Node (nodejs.org), or use the container image.";
  if (major < leastMajor || (major === leastMajor && minor < leastMinor))
    return failure(check, `Node ${version} is too old: this server needs ${least}`, install);
  if (lts === undefined)
    return warning(check, `Node ${version} is not of a line with long-term support`, install);
  return ok(check, `Node ${version} (${lts})`);
}

const numbers = (version: string): number[] =>
  version
    .replace(/^[^\d]+/, "")
    .split(".")
    .map(Number);

/** @throws PolicyError */
function policyOf({ policyFile }: Config, features: Features): Policy | undefined {
  if (policyFile === undefined) return undefined;
  return createPolicy(readPolicy(policyFile, knownNames(features)), scopeCatalogue(features.scopes, []));
}

export function checkPolicy(config: Config, features: Features): Finding[] {
  const check = "program.policy";
  try {
    return policyOf(config, features) === undefined
      ? []
      : [ok(check, `The policy is valid (${config.policyFile})`)];
  } catch (error) {
    if (!(error instanceof PolicyError)) return []; // a declaration is wrong, as the check of features says
    return error.problems.map((problem) => settingFailure(check, problem));
  }
}

/**
 * The services of the server with a silent log, to ask what it would do.
 * @throws PolicyError, or Error if the declaration of a tool is wrong
 */
export function silentServices(
  config: Config,
  features: Features,
  records: KeyValueStore,
  { now = systemClock, policy = policyOf(config, features) }: { now?: () => number; policy?: Policy } = {},
): Services {
  const log = pino({ level: "silent" });
  return buildServices({
    ...features,
    config,
    ...(policy && { policy }),
    records,
    identityProvider: createOidcProvider(config.upstream, { now, randomBytes, log }),
    log,
    now,
  });
}

/** What the server would refuse to start with, beside its settings. */
export function checkFeatures(config: Config, features: Features, records: KeyValueStore): Finding {
  const check = "program.tools";
  try {
    const { tools, scopes } = features;
    silentServices({ ...withoutPolicy(config) }, features, records);
    const names = Object.keys(scopes);
    return ok(
      check,
      `It offers ${count(tools.length, "tool")}, ${count(names.length, "scope")}: ${names.join(" ") || "none"}`,
    );
  } catch (error) {
    return failure(
      check,
      `The server would not start: ${(error as Error).message}`,
      "Correct the declaration that it names (src/tools/index.ts or TOOLS_MODULE, CLIENTS or SCOPE_CLAIM_MAP).",
    );
  }
}

function withoutPolicy({ policyFile: _, ...config }: Config): Config {
  return config;
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;

export function checkAuditLog({ audit: { destination } }: Config): Finding[] {
  const check = "program.audit_log";
  if (destination === undefined || destination === "stdout" || destination === "stderr") return [];
  try {
    checkAuditFile(destination);
    return [ok(check, `The audit log can be written (${destination})`)];
  } catch {
    return [
      failure(
        check,
        `The audit log cannot be written: ${destination}`,
        "Let AUDIT_LOG name a file in a folder that exists and that this user may write to.",
      ),
    ];
  }
}

export async function checkTracing({ telemetry: { traceEndpoint } }: Config): Promise<Finding[]> {
  const check = "program.tracing";
  if (traceEndpoint === undefined) return [];
  try {
    await loadTracing();
    return [ok(check, `The packages that send traces to ${new URL(traceEndpoint).host} are installed`)];
  } catch (error) {
    return [
      failure(
        check,
        `The server would not start: ${(error as Error).message}`,
        "Install them, or remove OTEL_EXPORTER_OTLP_ENDPOINT; the container image has them.",
      ),
    ];
  }
}
