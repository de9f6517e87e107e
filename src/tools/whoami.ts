/** whoami: who the caller is, as this server sees them. Needs no scope beyond being signed in. */
import { z } from "zod";
import { defineTool } from "../mcp/authoring/define-tool.ts";
import { getAccessToken } from "../resource/access-token-context.ts";

export const whoami = defineTool({
  name: "whoami",
  title: "Who am I",
  description: "Who is signed in, through which client, with which scopes, and until when",
  annotations: { readOnlyHint: true },
  output: z.object({
    subject: z.string(),
    kind: z
      .enum(["user", "client", "workload"])
      .describe("A person, a client that acts for itself, or a program of which its platform says who it is"),
    issuer: z.string().optional().describe("Who says so"),
    name: z.string().optional(),
    email: z.string().optional(),
    clientId: z.string(),
    scopes: z.array(z.string()),
    expiresAt: z.string().describe("UTC, ISO 8601"),
    notGiven: z
      .array(z.string())
      .optional()
      .describe("Scopes that the user approved and the identity provider did not give"),
    advice: z.string().optional(),
  }),
  run() {
    const { subject, kind, issuer, clientId, scopes, notGiven, claims, expiresAt } = getAccessToken();
    return {
      subject,
      kind,
      ...(issuer !== undefined && { issuer }),
      clientId,
      scopes: [...scopes],
      expiresAt: new Date(expiresAt * 1000).toISOString(),
      ...(typeof claims.name === "string" && { name: claims.name }),
      ...(typeof claims.email === "string" && { email: claims.email }),
      ...(notGiven.length > 0 && {
        notGiven: [...notGiven],
        advice: `You approved ${notGiven.join(" ")}, but the identity provider did not give it to you. Ask its administrator for it, then sign in again.`,
      }),
    };
  },
});
