/**
 * Issuers other than the identity provider whose JWTs are believed, and for what. What an issuer is believed for is its
 * `accept`: a token of one kind is never tried as another.
 */
import type { ClientElsewhere } from "../identity/oidc/authenticated-post.ts";
import type { ClaimRule } from "./claim-rule.ts";
import type { VouchedEmails } from "./vouched-email.ts";

/** How the JWTs of an issuer are verified. */
export interface IssuerSettings {
  /** The `iss` of its JWTs, byte for byte. */
  readonly issuer: string;
  /** Where its public keys are published; absent: where its metadata say. */
  readonly jwksUri?: string;
  /** JWS algorithms (RFC 7518 §3.1), asymmetric ones only. */
  readonly algorithms: readonly string[];
  /** Of one request to it. */
  readonly timeoutSeconds: number;
}

/** Issues access tokens for this server's resources (RFC 9068). */
export interface AccessTokenIssuer extends IssuerSettings, VouchedEmails {
  readonly accept: "access-token";
  /** The paths of the resources at which its tokens are good; absent: all. */
  readonly resources?: readonly string[];
  /** What `aud` has to name; absent: the resource. */
  readonly audience?: string;
  /** The `typ` of its tokens; RFC 9068 has `at+jwt`, several providers have `JWT`, and Okta has none: {@link UNTYPED}. */
  readonly types: readonly string[];
  /** What is said of a token that a client got for itself; all have to fit. Absent: it is known by its `sub` alone. */
  readonly clientClaims?: readonly ClaimRule[];
  /** The claims in which it says what a token may do, by name or dotted path. */
  readonly scopeClaims: readonly string[];
  /** Which scopes of this server each of its scopes, permissions or roles stands for. What is not in it is worth nothing. */
  readonly scopes: ReadonlyMap<string, readonly string[]>;
  /** How its opaque tokens are looked up (RFC 7662); absent: only its JWTs are accepted. */
  readonly introspection?: IntrospectionSettings;
}

export interface IntrospectionSettings {
  /** Absent: as the issuer's metadata say. */
  readonly endpoint?: string;
  readonly client: ClientElsewhere;
}

/** A company's identity provider, which decides centrally which of its people may use which client here (ID-JAG). */
export interface IdJagIssuer extends IssuerSettings, VouchedEmails {
  readonly accept: "id-jag";
  /** The claim by which its people are told apart. `email` counts only with `email_verified`. */
  readonly subject: "sub" | "email";
  /** Whether clients that cannot prove who they are may present its assertions. */
  readonly publicClients: boolean;
  /**
   * What `aud` of its logout tokens has to name. Absent: this server's issuer, as in its assertions; as a client it does not know this
   * server (OpenID Connect Back-Channel Logout §2.4 has the `client_id` there).
   */
  readonly logoutAudience?: string;
}

/** A platform that vouches for the programs that run on it, such as Kubernetes, GitHub Actions or SPIFFE. */
export interface WorkloadIssuer extends IssuerSettings {
  readonly accept: "workload";
  /** What `aud` has to be; absent: this server's issuer or its token endpoint. */
  readonly audience?: string;
  /** The first one that fits decides; none: nothing may be done. */
  readonly rules: readonly WorkloadRule[];
}

/** What the workloads of a name, or with certain claims, may do. */
export interface WorkloadRule {
  readonly claims: readonly ClaimRule[];
  readonly scopes: readonly string[];
  /** The paths of the resources at which they may do it; absent: all. */
  readonly resources?: readonly string[];
}

export type TrustedIssuer = AccessTokenIssuer | IdJagIssuer | WorkloadIssuer;

/** Among the types of an issuer's tokens: they have no `typ`. */
export const UNTYPED = "none";
