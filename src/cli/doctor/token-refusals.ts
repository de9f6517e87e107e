/** Why a token is refused: for each reason code of the server's log the stage that refuses it, its meaning, and what to do. */
import { subjectOf } from "../../access/principal.ts";
import type { Grant } from "../../grants/grant.ts";
import type { AccessTokenRefusal } from "../../resource/caller.ts";
import { relativeTime } from "../../runtime/time-in-words.ts";
import type { RefreshTokenRefusal } from "../../token-endpoint/grant-types/refresh-token.ts";
import { checkOf, type Finding } from "./finding.ts";

/** What a token has to pass; docs/doctor.md lists them. */
export const form = checkOf("token.form");
export const inStore = checkOf("token.grant");
export const known = checkOf("token.known");
export const expiry = checkOf("token.expiry");
export const resource = checkOf("token.resource");
export const signature = checkOf("token.signature");
export const principal = checkOf("token.principal");
export const admission = checkOf("token.admission");

/** What is known of the token that is refused. */
export interface Refused {
  grant?: Grant | undefined;
  /** Seconds since the epoch. */
  expiresAt?: number | undefined;
  now: number;
  /** Of the resource where it was presented. */
  uri: string;
  /** Of the policy. */
  rule?: string | undefined;
}

export function refusal(reason: AccessTokenRefusal | RefreshTokenRefusal, about: Refused): Finding {
  const refused = REFUSALS[reason];
  const finding = typeof refused === "function" ? refused(about) : refused;
  return { ...finding, says: `Refused (${reason}): ${finding.says}` };
}

const NO_GRANT = inStore`✗ there is no such grant in the store. It ended, was revoked or never was here
  → Let the client sign in again. The audit log says grant_ended with the reason; if it happens to all: is this the Redis, REDIS_KEY_PREFIX and SECRET_KEY of the server?`;

const otherResource = ({ grant, uri }: Refused) =>
  resource`✗ it is for ${grant?.resource ?? "another resource"}, and this server is ${uri}
    → If BASE_URL changed, users sign in again at the new address; otherwise run the doctor with that server's settings.`;

const noMember = (about: Refused) => admission`✗ ${user(about)} may not come in
  → See ALLOWED_ORGANIZATIONS, AUTH0_ORGANIZATION and ALLOWED_EMAIL_DOMAINS, and what the provider or issuer says of this user.`;

const clocks = (says: string) => expiry`✗ ${says}
  → Compare the clocks of the issuer and of this server: they may be 30 seconds apart. Let the client get a new token.`;

const user = ({ grant }: Refused) => (grant ? subjectOf(grant.principal) : "whoever it is of");
const client = ({ grant }: Refused) => grant?.client.id ?? "";

const REFUSALS: Readonly<
  Record<AccessTokenRefusal | RefreshTokenRefusal, Finding | ((about: Refused) => Finding)>
> = {
  malformed_access_token: form`✗ no part of this server takes such a token
    → Let the client sign in again.`,
  grant_ended: NO_GRANT,
  unknown_grant: NO_GRANT,
  access_token_for_another_resource: otherResource,
  foreign_resource: otherResource,
  unknown_access_token: known`✗ the grant is there, but this token is not one of its tokens. It was pushed out by newer ones, or is made up
    → Let the client use its newest access token, or refresh.`,
  client_credentials_removed: (about) =>
    known`✗ the client ${client(about)} got it with a secret or key that CLIENTS does not have any more
      → Let the client ask for a token with its new one.`,
  expired_access_token: ({ now, expiresAt = now }) => expiry`✗ it ended ${relativeTime(expiresAt, now)}
    → Let the client refresh with its refresh token. If it was fresh a moment ago, compare the clocks of all servers.`,
  unknown_refresh_token: known`✗ the grant is there, but this token was never issued for it: it is damaged or made up
    → Copy it again; otherwise let the client sign in again.`,
  refresh_token_of_another_client: (about) => known`✗ it was issued to the client ${client(about)}
    → Let that client use it; another one signs in for itself.`,
  scope_widened: known`✗ the request names a scope that the user did not approve
    → Let the client ask for it with a new sign-in.`,
  denied_by_policy: (about) => {
    const by = about.rule === undefined ? "" : `, by the rule "${about.rule}"`;
    const through = about.grant === undefined ? "" : ` with the client ${client(about)}`;
    return admission`✗ the policy does not let ${user(about)} in${through}${by}
      → Change the rule in POLICY_FILE if that is wrong; npm run admin -- policy explain says more.`;
  },
  email_not_verified: noMember,
  wrong_email_domain: noMember,
  wrong_organization: noMember,
  jwt_malformed: form`✗ it is no valid signed JWT
    → Copy it again, whole and on one line.`,
  jwt_wrong_type: form`✗ it is not marked as an access token (typ), or is an ID token (nonce, at_hash, c_hash)
    → Let the client send its access token; an ID-JAG or another assertion belongs at /token. If this is how the issuer marks access tokens, name that typ in the issuer's types.`,
  jwt_algorithm: form`✗ it is signed with an algorithm that is not accepted of this issuer
    → Only asymmetric algorithms can be: have the issuer sign with one of the issuer's algorithms in the configuration.`,
  jwt_sender_constrained: form`✗ it is bound to a key of its sender (cnf), and such tokens are not taken here
    → Have the issuer give bearer tokens for this resource.`,
  jwt_wrong_issuer: resource`✗ its issuer (iss) is not the one that was asked
    → The name has to be the same, letter by letter, in the configuration, in the token and at introspection.`,
  jwt_wrong_audience: resource`✗ it is for somebody else (aud)
    → Have the client ask for a token for this resource, or configure what the issuer calls it (audience).`,
  jwt_without_expiry: expiry`✗ it does not say until when it is good (exp)
    → Have the issuer put exp into its tokens.`,
  jwt_expired: expiry`✗ it has expired (exp)
    → Let the client get a new one from its issuer. If it was fresh a moment ago, compare the clocks.`,
  jwt_not_yet_valid: clocks("it is not good yet (nbf)"),
  jwt_issued_in_future: clocks("it was issued in the future (iat)"),
  jwt_signature: signature`✗ the issuer's key is there, and its signature is not of that key
    → It was changed or made up: let the client get a new one.`,
  jwt_unknown_key: signature`✗ the issuer publishes no such key (kid)
    → Is it a token of this issuer, and of this tenant? If its keys were just replaced, try again in a minute.`,
  token_inactive: signature`✗ the issuer says that it is not active (introspection)
    → It expired, was revoked, or is another issuer's: let the client get a new one. Does the issuer let this server's client see it?`,
  token_claims: principal`✗ it does not say whose it is (sub), or says it in a form that cannot be read
    → Have the issuer put sub, and client_id or azp, into its access tokens.`,
};
