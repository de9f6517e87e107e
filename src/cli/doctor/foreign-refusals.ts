/** Why an access token of another issuer is refused, in words: the reason codes of src/issuers/, and what to do. */
import type { ForeignTokenRefusal } from "../../resource/caller.ts";

/** What is looked at, in this order. */
export type ForeignStage =
  | "token.form"
  | "token.resource"
  | "token.expiry"
  | "token.signature"
  | "token.principal";

interface ForeignRefusal {
  at: ForeignStage;
  says: string;
  fix: string;
}

const CLOCKS =
  "Compare the clocks of the issuer and of this server: they may be 30 seconds apart. Let the client get a new token.";
const OTHER_KIND =
  "Let the client send its access token. If this is how the issuer marks them, name that typ in the issuer's types.";

export const FOREIGN_REFUSALS: Readonly<Record<ForeignTokenRefusal, ForeignRefusal>> = {
  jwt_malformed: {
    at: "token.form",
    says: "it is no valid signed JWT",
    fix: "Copy it again, whole and on one line.",
  },
  jwt_wrong_type: {
    at: "token.form",
    says: "it is not marked as an access token (typ), or is an ID token (nonce, at_hash, c_hash)",
    fix: OTHER_KIND,
  },
  jwt_algorithm: {
    at: "token.form",
    says: "it is signed with an algorithm that is not accepted of this issuer",
    fix: "Only asymmetric algorithms can be: have the issuer sign with one of the issuer's algorithms in the configuration.",
  },
  jwt_wrong_issuer: {
    at: "token.resource",
    says: "its issuer (iss) is not the one that was asked",
    fix: "The name has to be the same, letter by letter, in the configuration, in the token and at introspection.",
  },
  jwt_wrong_audience: {
    at: "token.resource",
    says: "it is for somebody else (aud)",
    fix: "Have the client ask for a token for this resource, or configure what the issuer calls it (audience).",
  },
  jwt_sender_constrained: {
    at: "token.form",
    says: "it is bound to a key of its sender (cnf), and such tokens are not taken here",
    fix: "Have the issuer give bearer tokens for this resource.",
  },
  jwt_without_expiry: {
    at: "token.expiry",
    says: "it does not say until when it is good (exp)",
    fix: "Have the issuer put exp into its tokens.",
  },
  jwt_expired: {
    at: "token.expiry",
    says: "it has expired (exp)",
    fix: "Let the client get a new one from its issuer. If it was fresh a moment ago, compare the clocks.",
  },
  jwt_not_yet_valid: { at: "token.expiry", says: "it is not good yet (nbf)", fix: CLOCKS },
  jwt_issued_in_future: { at: "token.expiry", says: "it was issued in the future (iat)", fix: CLOCKS },
  jwt_signature: {
    at: "token.signature",
    says: "the issuer's key is there, and its signature is not of that key",
    fix: "It was changed or made up: let the client get a new one.",
  },
  jwt_unknown_key: {
    at: "token.signature",
    says: "the issuer publishes no such key (kid)",
    fix: "Is it a token of this issuer, and of this tenant? If its keys were just replaced, try again in a minute.",
  },
  token_inactive: {
    at: "token.signature",
    says: "the issuer says that it is not active (introspection)",
    fix: "It expired, was revoked, or is another issuer's: let the client get a new one. Does the issuer let this server's client see it?",
  },
  token_claims: {
    at: "token.principal",
    says: "it does not say whose it is (sub), or says it in a form that cannot be read",
    fix: "Have the issuer put sub, and client_id or azp, into its access tokens.",
  },
};
