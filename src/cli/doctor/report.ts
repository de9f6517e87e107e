/** What was found, for people and for programs, without a secret in it; and whether the server can serve. */

import { secretOf } from "../../config/client-elsewhere.ts";
import type { DescribedResource } from "../../config/resources.ts";
import { type Environment, Settings } from "../../config/settings.ts";
import { serversOf } from "../../mcp/backends/backend-settings.ts";
import { counted } from "../../runtime/counted.ts";
import { readText } from "../../runtime/read-text.ts";
import type { Examination, Section } from "./examine.ts";
import type { Finding } from "./finding.ts";

const MARK = { ok: "✓", warning: "!", unknown: "!", failure: "✗" } as const;

/** 0: it can serve, perhaps with warnings; 1: it cannot. */
export function exitCode(sections: readonly Section[]): 0 | 1 {
  return all(sections).some(({ status }) => status === "failure") ? 1 : 0;
}

export function reportInWords({ sections, registrations }: Examination): string {
  return [
    ...sections.flatMap(({ title, findings }) => [title, ...findings.flatMap(inWords), ""]),
    ...registrations.flatMap(({ provider, callbackUrl, backchannelLogoutUrl, steps }) => [
      `To register at the identity provider${provider === undefined ? "" : ` “${provider}”`}`,
      `  Callback URL             ${callbackUrl}`,
      `  Back-channel logout URL  ${backchannelLogoutUrl} (if it can: sign-outs there then end sessions here)`,
      ...steps.map((step, index) => `  ${index + 1}. ${step}`),
      "",
    ]),
    summary(sections),
  ].join("\n");
}

export const findingsInWords = (findings: readonly Finding[]): string => findings.flatMap(inWords).join("\n");

function inWords(finding: Finding): string[] {
  const line = `  ${MARK[finding.status]} ${finding.says}${/[.!?:)]$/.test(finding.says) ? "" : "."}`;
  return finding.status === "ok" ? [line] : [line, `      → ${finding.fix}`];
}

function summary(sections: readonly Section[]): string {
  const count = (status: Finding["status"]) => all(sections).filter((each) => each.status === status).length;
  const [failures, warnings, unknowns] = [count("failure"), count("warning"), count("unknown")];
  const rest = [
    ...(warnings > 0 ? [counted(warnings, "warning")] : []),
    ...(unknowns > 0 ? [`${counted(unknowns, "check")} that could not be made`] : []),
  ];
  if (failures > 0)
    return `It cannot serve like this: ${[`${counted(failures, "problem")} to fix (✗)`, ...rest].join(", ")}.`;
  return rest.length === 0 ? "It can serve." : `It can serve, with ${rest.join(" and ")} (!).`;
}

export function reportForPrograms({ sections, registrations }: Examination) {
  const [registration] = registrations;
  return {
    canServe: exitCode(sections) === 0,
    findings: sections.flatMap(({ title, findings }) =>
      findings.map((finding) => ({ section: title, ...finding })),
    ),
    // That of the first one, as before there could be several.
    ...(registration && { registration }),
    registrations,
  };
}

const all = (sections: readonly Section[]): Finding[] => sections.flatMap(({ findings }) => findings);

// Shorter values may be ordinary words.
const LEAST_SECRET = 8;

/**
 * Redacts every secret, because providers and servers quote what they were sent. Also removes control sequences.
 */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const known = secrets.filter((secret) => secret.length >= LEAST_SECRET);
  const longestFirst = known.sort((one, other) => other.length - one.length);
  const hidden = longestFirst.reduce((left, secret) => left.replaceAll(secret, "[secret]"), text);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant
  return hidden.replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, " ");
}

/** Settings that are a secret, or a list of them. */
const SECRETS = [
  ...["SECRET_KEY", "OIDC_CLIENT_SECRET", "AUTH0_CLIENT_SECRET", "OIDC_PRIVATE_KEY"],
  ...["OIDC_EXCHANGE_CLIENT_SECRET", "REGISTRATION_TOKENS", "METRICS_TOKEN"],
];
const SECRET_FILES = ["OIDC_CLIENT_SECRET_FILE", "OIDC_FEDERATED_TOKEN_FILE"];
const REDIS_URLS = ["REDIS_URL", "REDIS_SENTINELS", "REDIS_CLUSTER_NODES"];

/** Everything in the environment that nobody may read in a terminal, a ticket or a CI log. */
export function secretsOf(environment: Environment): string[] {
  const settings = new Settings(environment);
  const { providers = [], issuers = [], authorizationServers = [], resources = [] } = settings.file ?? {};
  const views = [settings, ...providers.map((each) => settings.ofProvider(each))];
  const values = SECRETS.flatMap((name) => [
    ...(environment[name] ?? "").split(","),
    ...[environment[name], ...views.map((view) => view.optional(name))],
  ]);
  const files = SECRET_FILES.flatMap((name) => views.map((view) => view.optional(name)));
  const passwords = REDIS_URLS.flatMap((name) =>
    [...(environment[name] ?? "").matchAll(/\/\/[^:@/]*:([^@/]*)@/g)].map(([, password = ""]) => password),
  );
  const ofClients = (environment.CLIENTS ?? "").matchAll(/"client_secret"\s*:\s*(\[[^\]]*\]|"[^"]+")/g);
  const clients = [...ofClients].flatMap(([, secrets = ""]) => secrets.match(/[^"]{2,}/g));
  const lookups = (issuers ?? []).flatMap(({ settings: issuer }) =>
    issuer.accept === "access-token" ? (issuer.introspection?.client ?? []) : [],
  );
  const elsewhere = [...lookups, ...(authorizationServers ?? []).map(({ client }) => client)].flatMap(
    ({ credential }) => [
      secretOf(credential),
      ...("path" in credential && credential.kind !== "private_key" ? linesOf(credential.path) : []),
    ],
  );
  const decoded = passwords.map((password) => orElse(() => decodeURIComponent(password), password));
  const ofBackends = (resources ?? []).flatMap(toldToBackend);
  return [
    ...values,
    ...files.flatMap(linesOf),
    ...passwords,
    ...decoded,
    ...clients,
    ...elsewhere,
    ...ofBackends,
  ]
    .map((secret) => secret?.trim() ?? "")
    .filter((secret) => secret !== "" && !secret.startsWith("${")); // a variable that is not set is no secret
}

/** Keys in headers and environments; `Bearer` and its like are in front of some, and what is answered may quote the key alone. */
function toldToBackend({ source, path }: DescribedResource): string[] {
  const found = source(path);
  if (found.kind !== "server") return [];
  return [...serversOf(path, found.settings.reach).values()]
    .flatMap((reach) => Object.values(reach.kind === "http" ? reach.headers : reach.environment))
    .flatMap((value) => [value, ...value.split(" ")]);
}

/** Of a file that holds nothing but secrets; start and doctor say why one cannot be read. */
const linesOf = (path: string | undefined): string[] =>
  path === undefined ? [] : orElse(() => readText(path).split("\n"), []);

function orElse<T>(attempt: () => T, otherwise: T): T {
  try {
    return attempt();
  } catch {
    return otherwise;
  }
}
