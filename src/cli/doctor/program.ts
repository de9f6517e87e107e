/** The program itself: the version of Node it runs on, what it offers, its policy, and where it writes its audit log. */
import { pino } from "pino";
import { readPolicy } from "../../access/live-policy.ts";
import { createPolicy, type Policy } from "../../access/policy.ts";
import { PolicyError } from "../../access/policy-file.ts";
import { checkAuditFile } from "../../audit/audit.ts";
import type { Config } from "../../config/config.ts";
import { counted } from "../../runtime/counted.ts";
import { packageManifest } from "../../runtime/package.ts";
import { createShutdown } from "../../runtime/shutdown.ts";
import { catalogueOfAll, featuresOfEach, type Offered, policyNames } from "../../server/offered.ts";
import { buildServices, type Services } from "../../server/services.ts";
import { memoryStore } from "../../storage/memory.ts";
import type { KeyValueStore } from "../../storage/store.ts";
import { loadTracing } from "../../telemetry/load-tracing.ts";
import type { DeclaredFeatures, NodeRelease } from "./deployment.ts";
import { checkOf, type Finding, settingFailure } from "./finding.ts";

/** Until when a line gets fixes of security is nothing that a program knows; whether it is one of those that do, Node says. */
export function checkNode({ version, lts }: NodeRelease): Finding {
  const found = checkOf("program.node");
  const least: string = packageManifest().engines.node;
  const install = "Install the current LTS line of Node (nodejs.org), or use the container image.";
  const [ours = "", theirs = ""] = [version, least].map((text) => text.replace(/^\D+/, ""));
  if (ours.localeCompare(theirs, "en", { numeric: true }) < 0)
    return found`✗ Node ${version} is too old: this server needs ${least}
      → ${install}`;
  if (lts === undefined)
    return found`! Node ${version} is not of a line with long-term support
      → ${install}`;
  return found`✓ Node ${version} (${lts})`;
}

/** @throws PolicyError */
function policyOf(config: Config, features: Offered): Policy | undefined {
  if (config.policyFile === undefined) return undefined;
  return createPolicy(readPolicy(config.policyFile, policyNames(config, features)), catalogueOfAll(features));
}

/** Undefined parts of a deployment are said elsewhere: the settings, or the declaration of a tool, are wrong. */
export function checkPolicy(config: Config | undefined, features: DeclaredFeatures): Finding[] {
  if (config?.policyFile === undefined || "broken" in features) return [];
  try {
    policyOf(config, features);
    return [checkOf("program.policy")`✓ The policy is valid (${config.policyFile})`];
  } catch (error) {
    if (!(error instanceof PolicyError)) return []; // a declaration is wrong, as the check of features says
    return error.problems.map((problem) => settingFailure("program.policy", problem));
  }
}

/**
 * Asks the services of the server, with a silent log, what it would do; what they opened is closed again.
 * @throws PolicyError, or Error if the declaration of a tool is wrong
 */
export async function askingServices<Answer>(
  config: Config,
  features: Offered,
  records: KeyValueStore,
  ask: (services: Services) => Answer | Promise<Answer>,
  { policy = policyOf(config, features), ...more }: { now?: () => number; policy?: Policy } = {},
): Promise<Answer> {
  const shutdown = createShutdown();
  const given = { ...more, ...(policy && { policy }), shutdown, log: pino({ level: "silent" }) };
  try {
    return await ask(buildServices({ ...features, config, records, ...given }));
  } finally {
    await shutdown.end();
  }
}

/** What the server would refuse to start with, beside its settings. */
export async function checkFeatures(
  config: Config | undefined,
  features: DeclaredFeatures,
): Promise<Finding | undefined> {
  const found = checkOf("program.tools");
  if ("broken" in features)
    return found`✗ The server would not start: its tools cannot be loaded: ${features.broken.message}
      → Correct what it names: a setting of a tool, or the file: TOOLS_MODULE, --tools, or one below src/tools/.`;
  if (config === undefined) return undefined;
  const { policyFile: _, ...withoutPolicy } = config;
  const records = memoryStore();
  try {
    await askingServices(withoutPolicy, features, records, () => {});
    const { names } = catalogueOfAll(features);
    const tools = featuresOfEach(features).flatMap((each) => each.tools);
    return found`✓ It offers ${counted(tools.length, "tool")}, ${counted(names.length, "scope")}: ${names.join(" ") || "none"}`;
  } catch (error) {
    return found`✗ The server would not start: ${(error as Error).message}
      → Correct the declaration that it names (src/tools/index.ts or TOOLS_MODULE, CLIENTS or SCOPE_CLAIM_MAP).`;
  } finally {
    await records.close();
  }
}

export function checkAuditLog(config: Config | undefined): Finding | undefined {
  const destination = config?.audit.destination;
  if (destination === undefined || destination === "stdout" || destination === "stderr") return undefined;
  const found = checkOf("program.audit_log");
  try {
    checkAuditFile(destination);
    return found`✓ The audit log can be written (${destination})`;
  } catch {
    return found`✗ The audit log cannot be written: ${destination}
      → Let AUDIT_LOG name a file in a folder that exists and that this user may write to.`;
  }
}

export async function checkTracing(config: Config | undefined): Promise<Finding | undefined> {
  const collector = config?.telemetry.traceEndpoint;
  if (collector === undefined) return undefined;
  const found = checkOf("program.tracing");
  try {
    await loadTracing();
    return found`✓ The packages that send traces to ${new URL(collector).host} are installed`;
  } catch (error) {
    return found`✗ The server would not start: ${(error as Error).message}
      → Install them, or remove OTEL_EXPORTER_OTLP_ENDPOINT; the container image has them.`;
  }
}
