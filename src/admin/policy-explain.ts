/** `admin policy explain`: what the policy says of one person, one client and one tool, and by which rule. */
import { readFileSync } from "node:fs";
import { type Config, loadConfig } from "../config.ts";
import { type Feature, type FeatureTable, featureTable, knownNames } from "../mcp/features.ts";
import { UnavailableError } from "../oauth/errors.ts";
import {
  type Asker,
  createPolicy,
  type Explanation,
  type Policy,
  type PolicyDocument,
} from "../policy/policy.ts";
import { parsePolicy } from "../policy/policy-file.ts";
import { askerOf, type Grant } from "../tokens/grant.ts";
import * as offered from "../tools/index.ts";
import { withGrants } from "./grants-of-deployment.ts";

export interface ExplainOptions {
  user: string;
  client?: string;
  tool?: string;
  resource?: string;
  prompt?: string;
  group: string[];
  organization: string[];
  email?: string;
  redirectUri?: string;
  json: boolean;
}

/** @throws Error that says what to do: no policy, an unknown tool, a broken file */
export async function explainPolicy(options: ExplainOptions): Promise<void> {
  const config = loadConfig(process.env);
  const { policyFile } = config;
  if (policyFile === undefined) throw new Error("POLICY_FILE is not set: there is no policy to explain.");
  const weather = { ...config.weather, source: "" };
  const features = featureTable({ ...offered, tools: offered.createTools({ weather }) });
  const feature = namedFeature(options, features);
  const text = readFileSync(policyFile, "utf8");
  const document = parsePolicy(text, policyFile, knownNames(features, offered.scopes));
  const { grant, note } = await latestSession(options, config);
  const asker = askerFor(options, grant, document);
  const answer = explain(createPolicy(document), asker, feature);
  if (options.json) return print(JSON.stringify({ ...answer, asker, session: note }));
  print(inWords(answer, asker, feature, policyFile));
  print(note);
}

function namedFeature({ tool, resource, prompt }: ExplainOptions, features: FeatureTable): Feature {
  const named = [tool, resource, prompt].filter((name) => name !== undefined);
  if (named.length !== 1) throw new Error("Name one of --tool, --resource and --prompt.");
  const found =
    tool !== undefined
      ? features.tool(tool)
      : resource !== undefined
        ? features.resource(resource)?.resource
        : features.prompt(prompt ?? "");
  if (found !== undefined) return found;
  const all = [...features.tools, ...features.resources, ...features.prompts];
  throw new Error(
    `There is no ${named[0]} here: known are ${all.map(({ kind, name }) => `${kind} ${name}`).join(", ")}.`,
  );
}

/** What is known of this person from when they signed in: a policy speaks of groups, and only the provider knows them. */
async function latestSession(
  { user, client }: ExplainOptions,
  config: Config,
): Promise<{ grant?: Grant; note: string }> {
  try {
    return await withGrants(config, async (grants) => {
      const all = await grants.ofSubject(user);
      const grant = all.findLast(({ clientId }) => client === undefined || clientId === client) ?? all.at(-1);
      if (grant === undefined)
        return { note: `${user} has no session here: groups and organization are only those you gave.` };
      const since = new Date(grant.createdAt * 1000).toISOString();
      return {
        grant,
        note: `Groups, organization and e-mail are from the session with ${grant.clientId} of ${since}.`,
      };
    });
  } catch (error) {
    if (!(error instanceof UnavailableError) && config.store.kind !== "memory") throw error;
    return { note: "Sessions cannot be seen from here: groups and organization are only those you gave." };
  }
}

function askerFor(
  { user, client, group, organization, email, redirectUri }: ExplainOptions,
  grant: Grant | undefined,
  { claims: names }: PolicyDocument,
): Asker {
  const known = grant && askerOf(grant);
  const isSameClient = client === undefined || client === known?.clientId;
  return {
    subject: user,
    clientId: client ?? known?.clientId ?? "",
    // Another client's redirect URI would say something of that one.
    redirectUri: redirectUri ?? (isSameClient ? known?.redirectUri : undefined) ?? "about:blank",
    claims: {
      ...known?.claims,
      ...(group.length > 0 && { [names.groups]: group }),
      ...(organization.length > 0 && { [names.organization]: organization }),
      ...(email !== undefined && { email, email_verified: true }),
    },
  };
}

/** Whoever may not come in at all may not use anything either. */
function explain(policy: Policy, asker: Asker, feature: Feature): Explanation {
  const admission = policy.admits(asker);
  const explanation = policy.explain(asker, feature);
  return admission.allowed ? explanation : { ...explanation, verdict: admission };
}

function inWords(
  { verdict, matched, default: fallback }: Explanation,
  asker: Asker,
  feature: Feature,
  file: string,
) {
  const who = `${asker.subject} with the client ${asker.clientId || "(none)"}`;
  const place = (line: number | undefined) => (line === undefined ? "" : ` (${file}:${line})`);
  const because = verdict.allowed
    ? matched.some(({ effect }) => effect === "allow")
      ? ""
      : "  no rule denies it, and the default is to allow"
    : `  by the rule "${verdict.rule.name}"${place(verdict.rule.line)}`;
  return [
    `${verdict.allowed ? "ALLOW" : "DENY"} ${feature.kind} ${feature.name} for ${who}`,
    ...(because === "" ? [] : [because]),
    "Rules that speak of it:",
    ...matched.map(({ name, line, effect, says }) => `  ${effect} ${says}: "${name}"${place(line)}`),
    `  default: ${fallback}`,
    ...(feature.scopes.length > 0
      ? [
          `Beside the policy it needs the scopes: ${feature.scopes.map((each) => each.join(" or ")).join(", ")}`,
        ]
      : []),
  ].join("\n");
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
