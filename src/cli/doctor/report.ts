/** What was found, for people and for programs, without a secret in it; and whether the server can serve. */

import { type Environment, Settings } from "../../config/settings.ts";
import { readText } from "../../runtime/read-text.ts";
import type { Examination, Section } from "./examine.ts";
import { type Finding, plural } from "./finding.ts";

const MARK = { ok: "✓", warning: "!", unknown: "!", failure: "✗" } as const;

/** 0: it can serve, perhaps with warnings; 1: it cannot. */
export function exitCode(sections: readonly Section[]): 0 | 1 {
  return all(sections).some(({ status }) => status === "failure") ? 1 : 0;
}

export function reportInWords({ sections, registration }: Examination): string {
  return [
    ...sections.flatMap(({ title, findings }) => [title, ...findings.flatMap(inWords), ""]),
    ...(registration === undefined
      ? []
      : [
          "To register at the identity provider",
          `  Callback URL             ${registration.callbackUrl}`,
          `  Back-channel logout URL  ${registration.backchannelLogoutUrl} (if it can: sign-outs there then end sessions here)`,
          ...registration.steps.map((step, index) => `  ${index + 1}. ${step}`),
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
    ...(warnings > 0 ? [plural(warnings, "warning")] : []),
    ...(unknowns > 0 ? [`${plural(unknowns, "check")} that could not be made`] : []),
  ];
  if (failures > 0)
    return `It cannot serve like this: ${[`${plural(failures, "problem")} to fix (✗)`, ...rest].join(", ")}.`;
  return rest.length === 0 ? "It can serve." : `It can serve, with ${rest.join(" and ")} (!).`;
}

export function reportForPrograms({ sections, registration }: Examination) {
  return {
    canServe: exitCode(sections) === 0,
    findings: sections.flatMap(({ title, findings }) =>
      findings.map((finding) => ({ section: title, ...finding })),
    ),
    ...(registration && { registration }),
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
const SECRETS = ["SECRET_KEY", "OIDC_CLIENT_SECRET", "AUTH0_CLIENT_SECRET", "OIDC_PRIVATE_KEY"].concat([
  "REGISTRATION_TOKENS",
  "METRICS_TOKEN",
]);
const REDIS_URLS = ["REDIS_URL", "REDIS_SENTINELS", "REDIS_CLUSTER_NODES"];

/** Everything in the environment that nobody may read in a terminal, a ticket or a CI log. */
export function secretsOf(environment: Environment): string[] {
  const settings = new Settings(environment);
  const values = SECRETS.flatMap((name) => [
    environment[name] ?? "",
    ...(environment[name] ?? "").split(","),
  ]);
  const passwords = REDIS_URLS.flatMap((name) =>
    [...(environment[name] ?? "").matchAll(/\/\/[^:@/]*:([^@/]*)@/g)].map(([, password = ""]) => password),
  );
  const ofClients = /"client_secret"\s*:\s*(\[[^\]]*\]|"[^"]+")/g;
  const clients = [...(environment.CLIENTS ?? "").matchAll(ofClients)].flatMap(([, secrets = ""]) =>
    [...secrets.matchAll(/"([^"]+)"/g)].map(([, secret = ""]) => secret),
  );
  const described = settings.file?.providers ?? [];
  const views = described.length === 0 ? [settings] : described.map((each) => settings.ofProvider(each));
  const secretFiles = views.flatMap((each) =>
    ["OIDC_CLIENT_SECRET_FILE", "OIDC_FEDERATED_TOKEN_FILE"].map((name) => each.optional(name)),
  );
  const inFile = described.flatMap((provider) =>
    ["OIDC_CLIENT_SECRET", "AUTH0_CLIENT_SECRET", "OIDC_PRIVATE_KEY"].map((name) => {
      const { value = "", isFaulty } = provider.settings.get(name) ?? {};
      return isFaulty ? "" : value; // a variable that is not set is no secret
    }),
  );
  const ofIssuers = (settings.file?.issuers ?? []).map(({ settings: issuer }) =>
    issuer.accept === "access-token" ? (issuer.introspection?.clientSecret ?? "") : "",
  );
  return [
    ...inFile,
    ...secretFiles.flatMap(linesOf),
    ...ofIssuers,
    ...values,
    ...passwords,
    ...passwords.map(decoded),
    ...clients,
  ]
    .map((secret) => secret.trim())
    .filter((secret) => secret !== "");
}

/** Of a file that holds nothing but secrets; start and doctor say why one cannot be read. */
const linesOf = (path: string | undefined): string[] =>
  orElse(() => (path === undefined ? [] : readText(path).split("\n")), []);

const decoded = (text: string): string => orElse(() => decodeURIComponent(text), text);

function orElse<T>(attempt: () => T, otherwise: T): T {
  try {
    return attempt();
  } catch {
    return otherwise;
  }
}
