/** The parameters of the endpoints, parsed once at the edge into what the rules work with; /token has those of its grant types. */
import { z } from "zod";
import { OAuthError } from "./errors.ts";
import { isScopeToken } from "./scope.ts";

// Long enough for any real value; short enough that nothing absurd is stored or echoed.
export const Text = z.string().max(4096);

/** A client repeats what a challenge of ours named: every scope of a server that has hundreds. */
export const Scope = z.string().max(8_192);

const MAX_STATE_BYTES = 2_048;

/** A client's `state` (RFC 6749 §4.1.1) is kept for as long as its user signs in: real ones have a few hundred characters. */
const State = z
  .string()
  .refine((state) => Buffer.byteLength(state) <= MAX_STATE_BYTES && !/\p{Cc}/u.test(state), {
    message: `is longer than ${MAX_STATE_BYTES} bytes, or has control characters`,
  });

const MAX_ACR_VALUES = 16;

/** OpenID Connect Core §3.1.2.1. Fifteen years have nine digits; more may be no number any more. */
const MaxAge = z
  .string()
  .refine((age) => /^\d{1,9}$/.test(age), { message: "is not a number of seconds" })
  .transform(Number);

const AcrValues = z
  .string()
  .max(1_024)
  .transform((values) => values.split(" ").filter((value) => value !== ""))
  .refine((values) => values.length <= MAX_ACR_VALUES && values.every(isScopeToken), {
    message: `is not a list of at most ${MAX_ACR_VALUES} values`,
  });

/** None, one or several of a parameter that may be repeated. */
export const Repeatable = z
  .union([Text, z.array(Text)])
  .optional()
  .transform((value) => (value === undefined ? [] : [value].flat()));

/** What must be valid before an error can be redirected to the client (RFC 6749 §4.1.2.1). */
export const ClientAndRedirect = z.object({
  client_id: Text.optional(),
  redirect_uri: Text.optional(),
});

/** GET or POST /authorize (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2.1, RFC 9470 §4). */
export const AuthorizeParameters = z.object({
  client_id: Text.optional(),
  redirect_uri: Text.optional(),
  response_type: Text.optional(),
  response_mode: Text.optional(),
  scope: Scope.optional(),
  state: State.optional(),
  code_challenge: Text.optional(),
  code_challenge_method: Text.optional(),
  resource: Repeatable,
  prompt: Text.optional(),
  max_age: MaxAge.optional(),
  acr_values: AcrValues.optional(),
  request: Text.optional(),
  request_uri: Text.optional(),
});
export type AuthorizeParameters = z.infer<typeof AuthorizeParameters>;

/** How a client names itself in a body (RFC 6749 §2.3.1, RFC 7523 §2.2). */
export const ClientCredentials = z.object({
  client_id: Text.optional(),
  client_secret: Text.optional(),
  client_assertion: z.string().max(16_384).optional(),
  client_assertion_type: Text.optional(),
});
export type ClientCredentials = z.infer<typeof ClientCredentials>;

/** POST /revoke (RFC 7009 §2.1). */
export const RevocationRequest = z.object({ token: Text, token_type_hint: Text.optional() });

/** POST /introspect (RFC 7662 §2.1). */
export const IntrospectionRequest = RevocationRequest;

/** POST /auth/backchannel-logout (OpenID Connect Back-Channel Logout §2.5). */
export const BackchannelLogout = z.object({ logout_token: z.string().max(16_384) });

/** The login half of GET /auth/callback (RFC 6749 §4.1.2, RFC 9207). */
export const CallbackParameters = z.object({
  state: Text.optional(),
  code: Text.optional(),
  error: Text.optional(),
  error_description: Text.optional(),
  iss: Text.optional(),
});

/** POST /consent: what our own page sends. */
export const ConsentForm = z.object({
  request: z.string().max(65_536),
  decision: z.enum(["approve", "deny"]),
  /** The boxes that were left ticked. */
  scope: Repeatable,
  /** "Do not ask again" was ticked. */
  remember: z.literal("yes").optional(),
});

/** POST /connections/sign-in. */
export const ConnectionsSignInForm = z.object({
  another: z.literal("yes").optional(),
  /** A name, where there are several. */
  identity_provider: Text.optional(),
});

/** POST /logout, where there are several identity providers: at which of them, too. */
export const LogoutForm = z.object({ identity_provider: Text.optional() });

/** POST /connections/end and /connections/sign-out: what our own page sends. */
export const ConnectionsForm = z.object({
  form_token: Text,
  /** Ids of grants … */
  grant: Repeatable,
  /** … or every one. */
  all: z.literal("yes").optional(),
});
export type ConnectionsForm = z.infer<typeof ConnectionsForm>;

/**
 * Parses request parameters, or throws `invalid_request` naming the parameter. An empty value counts as omitted and a
 * repeated one is refused (RFC 6749 §3.1).
 */
export function parse<Schema extends z.ZodType>(
  schema: Schema,
  parameters: unknown,
  /** By default `resource` alone (RFC 8707 §2). */
  mayRepeat: readonly string[] = ["resource"],
): z.infer<Schema> {
  const present = Object.entries(parameters ?? {}).filter(([, value]) => value !== "");
  const repeated = present.find(([name, value]) => Array.isArray(value) && !mayRepeat.includes(name));
  if (repeated)
    throw new OAuthError(
      "invalid_request",
      `The parameter ${printable(repeated[0])} is sent more than once.`,
      {
        reason: "repeated_parameter",
      },
    );
  const result = schema.safeParse(Object.fromEntries(present));
  if (result.success) return result.data;
  throw problemWith(result.error, Object.fromEntries(present));
}

function problemWith(error: z.ZodError, sent: Record<string, unknown>): OAuthError {
  const [issue] = error.issues;
  const name = String(issue?.path[0] ?? "");
  const wrong =
    issue?.code === "custom"
      ? issue.message
      : issue?.code === "too_big"
        ? `is longer than ${issue.maximum} characters`
        : "is not valid";
  const what = sent[name] === undefined ? "is missing" : wrong;
  return new OAuthError("invalid_request", `The parameter ${printable(name)} ${what}.`, {
    reason: sent[name] === undefined ? "missing_parameter" : "invalid_parameter",
  });
}

/** RFC 6749 §5.2 allows only these characters in a description. */
function printable(name: string): string {
  return name.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "?").slice(0, 64);
}
