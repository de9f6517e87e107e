/** `admin policy explain`: what the policy says of one person, one client and one tool, and by which rule. */

import { readPolicy } from "../../access/live-policy.ts";
import { createPermissions, type Decision, type NotAdmitted } from "../../access/permissions.ts";
import { createPolicy, type Explanation, type Feature, type PolicyDocument } from "../../access/policy.ts";
import { claimsOf, type Principal, type Requester, subjectOf } from "../../access/principal.ts";
import { isAt } from "../../access/rule.ts";
import type { Config } from "../../config/config.ts";
import type { Grant } from "../../grants/grant.ts";
import { UnavailableError } from "../../oauth/errors.ts";
import {
  catalogueOfAll,
  declarationsOf,
  featureFinder,
  type Offered,
  policyNames,
} from "../../server/offered.ts";
import type { ResourceDeclaration } from "../../server/resources.ts";
import { UsageError } from "./command.ts";
import { withDeployment } from "./deployment.ts";
import { issuerOfUser } from "./issuers.ts";

export interface ExplainOptions {
  kind: Principal["kind"];
  /** Of a user or workload. */
  user?: string;
  issuer?: string;
  client?: string;
  tool?: string;
  resource?: string;
  prompt?: string;
  group: string[];
  organization: string[];
  email?: string;
  redirectUri?: string;
  /** A path, or URI. */
  protectedResource?: string;
}

/** The same decision as the server's, and everything that went into it. */
export interface PolicyAnswer {
  decision: Decision | ({ allowed: false; because: "admission" } & NotAdmitted);
  feature: Feature;
  /** Where that is: a path in CONFIG_FILE. */
  protectedResource: string;
  requester: Requester;
  explanation: Explanation;
  /** What to know before trusting it. */
  notes: string[];
}

/** @throws Error that says what to do: no policy, an unknown tool, a broken file */
export async function explainPolicy(
  options: ExplainOptions,
  config: Config,
  offered: Offered,
): Promise<PolicyAnswer> {
  const { policyFile, membership } = config;
  if (policyFile === undefined) throw new Error("POLICY_FILE is not set: there is no policy to explain.");
  const { feature, at } = namedFeature(options, config, offered);
  const document = readPolicy(policyFile, policyNames(config, offered));
  const named = namedPrincipal(options, (issuer) => issuerOfUser(issuer, config));
  const { grant, note } = await latestSession(named, options, config);
  const requester = requesterFor(named, options, grant, document);

  const catalogue = catalogueOfAll(offered);
  const policy = createPolicy(document, catalogue).at(at.path);
  const permissions = createPermissions({ policy, catalogue, membership });
  const notAdmitted = permissions.checkAdmission(requester);
  return {
    decision:
      notAdmitted === undefined
        ? permissions.permissionSet(requester, catalogue.names).checkFeature(feature) // as if every scope had been granted
        : { allowed: false, because: "admission", ...notAdmitted },
    feature,
    protectedResource: at.path,
    requester,
    explanation: policy.explain(requester, feature),
    notes: [
      note,
      ...whatIsUnknown(requester, policy.unansweredBy(claimsOf(requester.principal)), document, at.path),
    ],
  };
}

/** A feature, and where it is. */
interface Found {
  feature: Feature;
  at: ResourceDeclaration;
}

/** @throws UsageError if nothing or several things are meant; Error for what is not there */
function namedFeature(
  { tool, resource, prompt, protectedResource }: ExplainOptions,
  config: Config,
  offered: Offered,
): Found {
  const named = [
    ...(tool === undefined ? [] : [{ kind: "tool", name: tool } as const]),
    ...(resource === undefined ? [] : [{ kind: "resource", name: resource } as const]),
    ...(prompt === undefined ? [] : [{ kind: "prompt", name: prompt } as const]),
  ];
  const [meant, ...others] = named;
  if (meant === undefined || others.length > 0)
    throw new Error("Name one of --tool, --resource and --prompt.");
  const { kind, name } = meant;
  const places = placesNamed(protectedResource, config, offered);
  const found = places.flatMap((at): Found[] => {
    const feature = featureFinder(at)(kind, name);
    return feature === undefined ? [] : [{ feature, at }];
  });
  const [first, ...elsewhere] = found;
  if (first === undefined) {
    const known = policyNames(config, offered)[`${kind}s`];
    const hint = kind === "resource" ? " (give its URI)" : "";
    throw new Error(`There is no ${kind} ${name} here${hint}: known are ${known.join(", ") || "none"}.`);
  }
  if (elsewhere.length > 0)
    throw new UsageError(
      `Several resources have a ${kind} ${name}: say which with --protected-resource (${found.map(({ at }) => at.path).join(", ")}).`,
    );
  return first;
}

/** All, if nobody says which. */
function placesNamed(
  named: string | undefined,
  config: Config,
  offered: Offered,
): readonly ResourceDeclaration[] {
  const all = declarationsOf(config, offered);
  if (named === undefined) return all;
  const found = all.filter(({ path }) => path === named || `${config.baseUrl}${path}` === named);
  if (found.length > 0) return found;
  throw new UsageError(
    `There is no protected resource ${named}: known are ${all.map(({ path }) => path).join(", ")}.`,
  );
}

/** Nothing is said of them yet. */
type Named =
  | Omit<Extract<Principal, { kind: "client" }>, "claims">
  | Omit<Extract<Principal, { kind: "user" | "workload" }>, "claims">;

/** @throws UsageError */
export function namedPrincipal(
  { kind, user, issuer, client }: Pick<ExplainOptions, "kind" | "user" | "issuer" | "client">,
  issuerOfUser: (named: string | undefined) => string,
): Named {
  if (kind === "client") {
    if (client === undefined) throw new UsageError("Name the client: --client.");
    return { kind, clientId: client, ...(issuer !== undefined && { issuer }) };
  }
  if (user === undefined) throw new UsageError("Name who it is: --user, with the sub.");
  if (kind === "workload" && issuer === undefined)
    throw new UsageError("Name the issuer of the workload: --issuer.");
  return {
    kind,
    issuer: kind === "workload" && issuer !== undefined ? issuer : issuerOfUser(issuer),
    subject: user,
  };
}

/** What is known of this person from when they signed in: a policy speaks of groups, and only the provider knows them. */
async function latestSession(
  named: Named,
  { client }: ExplainOptions,
  config: Config,
): Promise<{ grant?: Grant; note: string }> {
  const onlyGiven = "groups, organization and e-mail are only those you gave.";
  if (named.kind === "client") return { note: `Nothing is stored of what is said of a client: ${onlyGiven}` };
  if (config.store.kind === "memory")
    return { note: `With STORE=memory sessions cannot be seen from here: ${onlyGiven}` };
  try {
    return await withDeployment(config, async ({ grants, grantsOfUser }) => {
      const all: Grant[] = [];
      for await (const each of grants.findAll(grantsOfUser(named))) all.push(each);
      const grant = all.findLast((each) => client === undefined || each.client.id === client) ?? all.at(-1);
      if (grant === undefined) return { note: `${named.subject} has no session here: ${onlyGiven}` };
      const since = new Date(grant.createdAt * 1000).toISOString();
      return {
        grant,
        note: `Groups, organization and e-mail are from the session with ${grant.client.id} of ${since}.`,
      };
    });
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return { note: `Redis cannot be reached, so sessions cannot be seen: ${onlyGiven}` };
  }
}

function requesterFor(
  named: Named,
  { client, group, organization, email, redirectUri }: ExplainOptions,
  grant: Grant | undefined,
  { claims: names }: PolicyDocument,
): Requester {
  const claims = {
    ...(grant && claimsOf(grant.principal)),
    ...(group.length > 0 && { [names.groups]: group }),
    ...(organization.length > 0 && { [names.organization]: organization }),
    ...(email !== undefined && { email, email_verified: true }),
  };
  // Another client's redirect URI would say something of that one.
  const isSameClient = client === undefined || client === grant?.client.id;
  const address = redirectUri ?? (isSameClient ? grant?.client.redirectUri : undefined);
  return {
    // Nobody says anything of a client of this server's.
    principal: named.kind === "client" && named.issuer === undefined ? named : { ...named, claims },
    client: {
      id: client ?? grant?.client.id ?? "",
      ...(address !== undefined && { redirectUri: address }),
    },
  };
}

/** What had to be decided without knowing: an answer without it is not the server's. */
function whatIsUnknown(
  { client }: Requester,
  claims: readonly string[],
  { rules, claims: names }: PolicyDocument,
  protectedResource: string,
) {
  const counting = rules.filter((rule) => isAt(rule, protectedResource));
  const asks = (key: keyof (typeof rules)[number]["for"]) =>
    counting.some((rule) => rule.for[key] !== undefined);
  const options = new Map([
    [names.groups, " (--group)"],
    [names.organization, " (--organization)"],
    ["email", " (--email)"],
  ]);
  return [
    ...claims.map(
      (claim) =>
        `The claim ${claim} is unknown${options.get(claim) ?? ""}: rules that deny by it were applied, rules that allow by it were not.`,
    ),
    ...(client.redirectUri === undefined && asks("redirect_uris")
      ? [
          "The redirect URI is unknown (--redirect-uri): rules that deny by it were applied, rules that allow by it were not.",
        ]
      : []),
    ...(client.id === "" && asks("clients")
      ? ["The client is unknown: rules with clients were not counted (--client)."]
      : []),
  ];
}

/** @param isOneOfSeveral whether it has to be said at which protected resource */
export function explanationInWords(
  { decision, feature, protectedResource, requester, explanation, notes }: PolicyAnswer,
  file: string,
  isOneOfSeveral: boolean,
): string {
  const place = (line: number | undefined) => (line === undefined ? "" : ` (${file}:${line})`);
  const { kind, name, scopes } = feature;
  const { matched, default: fallback } = explanation;
  return [
    `${decision.allowed ? "ALLOW" : "DENY"} ${kind} ${name}${isOneOfSeveral ? ` at ${protectedResource}` : ""} for ${subjectOf(requester.principal)} with the client ${requester.client.id || "(none)"}`,
    ...reasons(decision, matched, place),
    "Rules about them that speak of it:",
    ...matched.map(
      (rule) => `  ${rule.effect} ${rule.says}: "${rule.name}"${place(rule.line)}${because(rule)}`,
    ),
    `  default: ${fallback}`,
    ...(scopes.length > 0
      ? [`Beside the policy it needs the scopes: ${scopes.map((each) => each.join(" or ")).join(", ")}`]
      : []),
    ...notes,
  ].join("\n");
}

function reasons(
  decision: PolicyAnswer["decision"],
  matched: Explanation["matched"],
  place: (line?: number) => string,
): string[] {
  if (decision.allowed) return [];
  if (decision.because === "scopes") return [];
  const { rule } = decision;
  const unknown = matched.find(({ name, line }) => name === rule?.name && line === rule?.line)?.unknown;
  return [
    ...(decision.because === "admission" ? [`  they may not come in at all: ${decision.reason}`] : []),
    ...(rule === undefined ? [] : [`  by the rule "${rule.name}"${place(rule.line)}${because({ unknown })}`]),
    ...(rule?.name === "default" ? ["  because no rule allows it, or a scope that it needs"] : []),
  ];
}

/** A rule that denies also applies where it is unknown whether its condition holds. */
function because({ unknown }: { unknown?: readonly string[] | undefined }): string {
  if (unknown === undefined) return "";
  return `, because what it asks for is unknown of them: ${unknown.join(", ")}`;
}
