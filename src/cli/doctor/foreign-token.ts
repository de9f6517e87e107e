/** `doctor token` of an access token that another issuer gave out: the answer of the resource that takes such tokens. */
import { subjectOf } from "../../access/principal.ts";
import { causes, UnavailableError } from "../../oauth/errors.ts";
import type { AccessTokenRefusal, Caller } from "../../resource/caller.ts";
import { relativeTime } from "../../runtime/time-in-words.ts";
import type { McpResource } from "../../server/resources.ts";
import type { Services } from "../../server/services.ts";
import { checkOf, type Finding } from "./finding.ts";
import { FOREIGN_REFUSALS } from "./foreign-refusals.ts";
import { whatItMayDo } from "./what-it-may-do.ts";

type LookUp = Pick<Services, "resources" | "config"> & Pick<Services["runtime"], "now">;

const shape = checkOf("token.shape").ok("It is a token of another issuer, which is trusted here");

/** Undefined: no resource here takes such a token. */
export async function explainForeignToken(value: string, services: LookUp): Promise<Finding[] | undefined> {
  let refused: Finding | undefined;
  for (const resource of services.resources) {
    const authenticator = resource.authenticators.find(({ claims }) => claims(value));
    if (authenticator === undefined) continue;
    try {
      const verification = await authenticator.verify(value);
      if ("caller" in verification) return [shape, ...accepted(verification.caller, resource, services)];
      refused ??= refusal(verification.refused, verification.rule);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      return [shape, outOfReach(error)];
    }
  }
  return refused && [shape, refused];
}

function accepted(caller: Caller, resource: McpResource, { config, now }: LookUp): Finding[] {
  const { principal, client, expiresAt } = caller;
  return [
    checkOf("token.resource").ok(`It is for this server (${resource.uri})`),
    checkOf("token.expiry").ok(`It ends ${relativeTime(expiresAt, now())}`),
    checkOf("token.principal").ok(
      `It is of the ${principal.kind} ${subjectOf(principal)}, of ${principal.issuer}, with the client ${client.id}`,
    ),
    ...whatItMayDo(caller, resource, config),
    checkOf("token.verdict").ok("Accepted: it may be presented to the MCP endpoint"),
  ];
}

function refusal(reason: AccessTokenRefusal, rule: string | undefined): Finding {
  if (Object.hasOwn(FOREIGN_REFUSALS, reason)) {
    const { at, says, fix } = FOREIGN_REFUSALS[reason as keyof typeof FOREIGN_REFUSALS];
    return checkOf(at).failure(`Refused (${reason}): ${says}`, fix);
  }
  return checkOf("token.admission").failure(
    `Refused (${reason}): whoever it is of may not come in${rule === undefined ? "" : `, by the rule "${rule}"`}`,
    "See POLICY_FILE (npm run admin -- policy explain says more), ALLOWED_ORGANIZATIONS and ALLOWED_EMAIL_DOMAINS, and what the issuer says of them.",
  );
}

function outOfReach(error: UnavailableError): Finding {
  return checkOf("token.signature").unknown(
    `Could not tell whether it is good: its issuer cannot be asked (${causes(error.cause)})`,
    "A server that cannot ask it answers 503, never 401. Is its name right, and can this computer reach it?",
  );
}
