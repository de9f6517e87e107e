/**
 * The smallest server: one tool behind one scope, everything in this file.
 *
 *   npm install mcp-oidc-proxy zod
 *   cp node_modules/mcp-oidc-proxy/.env.example .env     # fill in what is empty
 *   node --env-file=.env minimal.mts                      # before Node 22.18: npx tsx --env-file=.env minimal.mts
 */
import { defineTool, getAccessToken, loadConfig, serve } from "mcp-oidc-proxy";
import { z } from "zod";

const greet = defineTool({
  name: "greet",
  description: "Greets whoever is signed in",
  scopes: ["greetings:read"],
  input: z.object({ language: z.enum(["en", "de"]) }),
  run({ language }) {
    const { claims, subject } = getAccessToken();
    return `${language === "de" ? "Guten Tag" : "Good day"}, ${claims.name ?? subject}!`;
  },
});

await serve(loadConfig(process.env), {
  tools: [greet],
  scopes: { "greetings:read": "Greet you by your name" }, // the words of the consent page
});
