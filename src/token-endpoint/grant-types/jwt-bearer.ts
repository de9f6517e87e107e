/**
 * grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer (RFC 7523 §2.1): an assertion of an issuer that the operator trusts
 * becomes an access token. A company's identity provider vouches for a person and the client (ID-JAG); a platform vouches for
 * a program (workload identity).
 */
import { z } from "zod";
import { clientOf, type Principal, type Requester } from "../../access/principal.ts";
import type { AuthenticatedClient } from "../../clients/authenticate-client.ts";
import type { SignIn } from "../../grants/endings.ts";
import type { Origin } from "../../grants/grant.ts";
import type { AssertionId } from "../../issuers/id-jag.ts";
import { JwtRefused } from "../../issuers/jwt.ts";
import type { Assertion } from "../../issuers/trusted-assertions.ts";
import { JWT_BEARER_GRANT } from "../../oauth/client-metadata.ts";
import { OAuthError } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { Repeatable, Scope } from "../../oauth/requests.ts";
import { intersect, parseScope } from "../../oauth/scope.ts";
import { namedResource, type ProtectedResource } from "../../resource/protected-resource.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { GrantTypeDependencies, GrantTypeOfAssertions } from "../grant-type.ts";
import { type Entitlement, issueWithoutUser } from "../issue-without-user.ts";
import type { TokenResponse } from "../token-response.ts";

/** RFC 7523 §2.1, RFC 8707 §2.2. */
const JwtBearerRequest = z.object({
  assertion: z.string().max(16_384),
  scope: Scope.optional(),
  resource: Repeatable,
});
type JwtBearerRequest = z.infer<typeof JwtBearerRequest>;

export const jwtBearer: GrantTypeOfAssertions<JwtBearerRequest> = {
  name: JWT_BEARER_GRANT,
  request: JwtBearerRequest,
  clients: "none",
  handle: issueForAssertion,
  async vouchesFor({ assertion }, clientId, { assertions }) {
    const verified = await assertions.verify(assertion).catch(refused);
    return verified.kind === "id-jag" && verified.clientId === clientId;
  },
};

type PersonOrProgram = Exclude<Principal, { kind: "client" }>;

/** What an assertion was found to entitle to. */
interface Permitted extends Pick<Entitlement, "resource" | "ceiling"> {
  principal: PersonOrProgram;
  client: Requester["client"];
  origin: Extract<Origin, { kind: "jwt_bearer" }>;
  id: AssertionId;
}

/** @throws OAuthError `invalid_grant` for whatever is wrong with the assertion; `invalid_target`, `invalid_scope` */
async function issueForAssertion(
  client: AuthenticatedClient | undefined,
  request: JwtBearerRequest,
  dependencies: Runtime & GrantTypeDependencies,
): Promise<TokenResponse> {
  const { resources, assertions, endedMeanwhile } = dependencies;
  const assertion = await assertions.verify(request.assertion).catch(refused);
  const {
    principal,
    client: of,
    id,
    ...permitted
  } = assertion.kind === "id-jag"
    ? forPerson(assertion, client, request, resources)
    : forWorkload(assertion, client, request, resources);
  const requester = { principal, client: of };
  return await issueWithoutUser(
    { ...permitted, requester, asked: request.scope, beyond: beyondAssertion },
    dependencies,
    {
      useUp: () => assertions.useOnce(id).catch(refused),
      async endedMeanwhile() {
        const ended = namesOf(principal).map((subject) =>
          endedMeanwhile({ ...signInOf(principal), subject, clientId: of.id }),
        );
        return (await Promise.all(ended)).find((reason) => reason !== undefined);
      },
      ended: () => notAccepted("ended_meanwhile"),
    },
  );
}

/** A person, through the client that the assertion names and that is asking (ID-JAG §4.4.1). */
function forPerson(
  { issuer, subject, clientId, resource, scopes, claims, id, by }: Extract<Assertion, { kind: "id-jag" }>,
  client: AuthenticatedClient | undefined,
  request: JwtBearerRequest,
  resources: GrantTypeDependencies["resources"],
): Permitted {
  if (client === undefined)
    throw new OAuthError(
      "invalid_client",
      "An identity assertion is for the client that it names: authenticate as that.",
      {
        reason: "no_client_id",
      },
    );
  if (clientId !== client.client_id) throw notAccepted("assertion_of_another_client");
  // RFC 7591 §2: where nothing is said of grant types, the assertion alone decides.
  if (client.grantTypesChosen && !client.grant_types.includes(JWT_BEARER_GRANT))
    throw new OAuthError("unauthorized_client", `This client may not use the ${JWT_BEARER_GRANT} grant.`, {
      reason: "grant_type_not_registered",
    });
  if (client.token_endpoint_auth_method === "none" && !by.publicClients)
    throw new OAuthError("unauthorized_client", "Identity assertions are for clients that authenticate.", {
      reason: "assertion_of_public_client",
    });
  const meant = resource === undefined ? undefined : namedResource([resource], resources);
  if (resource !== undefined && meant === undefined) throw notAccepted("assertion_for_another_resource");
  const at = resourceAmong(request, meant === undefined ? resources : [meant]);
  const ceiling = client.scope === undefined ? at.scopes.names : (parseScope(client.scope) ?? []);
  const { client_name: name } = client;
  return {
    principal: { kind: "user", issuer, subject, claims: { ...claims } },
    client: { id: clientId, ...(name !== undefined && { name }) },
    resource: at,
    ceiling: at.scopes.limitTo(
      scopes ?? at.scopes.defaultScopes,
      at.scopes.limitTo(at.scopes.names, ceiling),
    ),
    origin: { kind: "jwt_bearer", profile: "id-jag", issuer },
    id,
  };
}

/** A program, as far as the rule of its issuer reaches that names it. */
function forWorkload(
  { issuer, subject, rule, claims, id }: Extract<Assertion, { kind: "workload" }>,
  client: AuthenticatedClient | undefined,
  request: JwtBearerRequest,
  resources: GrantTypeDependencies["resources"],
): Permitted {
  // Whoever it is, it would not be the program that the assertion names.
  if (client !== undefined) throw notAccepted("workload_with_client");
  const allowed = resources.filter(({ path }) => rule.resources?.includes(path) ?? true);
  const at = resourceAmong(request, allowed);
  return {
    principal: { kind: "workload", issuer, subject, claims: { ...claims } },
    client: clientOf(issuer, subject),
    resource: at,
    ceiling: intersect(rule.scopes, at.scopes.names),
    origin: { kind: "jwt_bearer", profile: "workload", issuer },
    id,
  };
}

/** Of those that the assertion is good for. The first is meant where nothing is said. */
function resourceAmong(
  { resource }: JwtBearerRequest,
  allowed: readonly ProtectedResource[],
): ProtectedResource {
  const [first, ...others] = allowed;
  const found = first && namedResource(resource, [first, ...others]);
  if (found !== undefined) return found;
  throw new OAuthError("invalid_target", "This assertion is not good for that resource.", {
    reason: "foreign_resource",
  });
}

function beyondAssertion(): OAuthError {
  return new OAuthError("invalid_scope", "This assertion permits none of these scopes.", {
    reason: "scope_beyond_assertion",
  });
}

/** By which access of theirs is ended: the operator's name for them, and that of their issuer, which its logout tokens have. */
function namesOf({ subject, claims: { sub } }: PersonOrProgram): string[] {
  return [...new Set([subject, ...(typeof sub === "string" ? [sub] : [])])];
}

function signInOf({ issuer, subject, claims: { sid } }: PersonOrProgram): Omit<SignIn, "clientId"> {
  return { issuer, subject, ...(typeof sid === "string" && { sid }) };
}

function refused(error: unknown): never {
  throw error instanceof JwtRefused ? notAccepted(error.reason, error) : error;
}

/** One text for everything: which issuers are trusted is nobody's business. The reason is in the log. */
function notAccepted(reason: ReasonCode, cause?: unknown): OAuthError {
  return new OAuthError(
    "invalid_grant",
    "The assertion is not accepted: it has expired, was used before, or is not one that this server trusts for this client and resource.",
    { reason, cause },
  );
}
