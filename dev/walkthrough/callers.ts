/** As whom the walkthrough can go: `--as`. */
export const CALLERS = {
  person: "a client in which a person signs in with a browser",
  machine: "a job with an id and a secret of its own (client credentials)",
  enterprise: "a company's application, by what its identity provider says of a person (ID-JAG)",
  workload: "a program on a platform, by the token of its service account",
  "foreign-token": "a program with an access token of another issuer",
} as const;

export type Caller = keyof typeof CALLERS;
